"""Layers and sub-layers, told by structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import transformers
from torch import nn

from brulee.errors import InputError
from brulee.methods.stacks import Layer, is_norm, layers, stacks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MakeModel = Callable[..., "PreTrainedModel"]

# Architecture -> its last layer.
LAST = {
    name: Layer(f"{path}.1", (f"{path}.1.{attention}",), f"{path}.1.mlp", f"{path}.1.mlp")
    for name, path, attention in [
        ("llama", "model.layers", "self_attn"),
        ("qwen3", "model.layers", "self_attn"),
        ("gemma", "model.layers", "self_attn"),
        ("mistral", "model.layers", "self_attn"),
        ("phi", "model.layers", "self_attn"),
        ("gpt2", "transformer.h", "attn"),
        ("gpt-neox", "gpt_neox.layers", "attention"),
    ]
}
LAST["t5"] = Layer(
    "decoder.block.1",
    ("decoder.block.1.layer.0.SelfAttention", "decoder.block.1.layer.1.EncDecAttention"),
    "decoder.block.1.layer.2.DenseReluDense",
    "decoder.block.1.layer.2.DenseReluDense",
)
LAST["bart"] = Layer(
    "model.decoder.layers.1",
    ("model.decoder.layers.1.self_attn", "model.decoder.layers.1.encoder_attn"),
    "model.decoder.layers.1.fc1",
    "model.decoder.layers.1.fc2",
)


@pytest.mark.parametrize("name", LAST)
def test_every_architecture_s_sub_layers_are_found(make_model: MakeModel, name: str) -> None:
    found = layers(make_model(name))
    assert found[-1] == LAST[name]
    assert len(found) == (4 if name in ("t5", "bart") else 2)


def _of(kind: str, **own: Any) -> PreTrainedModel:
    sizes = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "head_dim": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}
    model: PreTrainedModel = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(kind, **{**sizes, **heads, **own})
    )
    return model


STATES = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1}
# What their layers have for attention and feed-forward, and whether others add up to the latter.
HYBRIDS: dict[str, tuple[dict[str, Any], list[tuple[str | None, str | None, bool]]]] = {
    "lfm2": (
        {"layer_types": ["conv", "full_attention"]},
        [("conv", "feed_forward", False), ("self_attn", "feed_forward", False)],
    ),
    "granitemoehybrid": (
        {**STATES, "num_local_experts": 4, "layer_types": ["mamba", "attention"]},
        [("mamba", "block_sparse_moe", True), ("self_attn", "block_sparse_moe", True)],
    ),
    "nemotron_h": (
        {
            "layers_block_type": ["mamba", "moe", "attention"],
            "num_hidden_layers": 3,
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "n_groups": 1,
            "n_routed_experts": 4,
        },
        [("mixer", None, False), (None, "mixer", False), ("mixer", None, False)],
    ),
    "falcon_h1": (
        {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8},
        [("self_attn", "feed_forward", False)] * 2,
    ),
    "recurrent_gemma": (
        {"lru_width": 32},
        [("temporal_block", "mlp_block", False)] * 2,
    ),
}


@pytest.mark.parametrize("kind", HYBRIDS)
def test_what_mixes_tokens_stands_where_attention_does(kind: str) -> None:
    own, expected = HYBRIDS[kind]
    found = [
        Layer(
            path,
            () if attention is None else (f"{path}.{attention}",),
            *((None, None) if feed is None else (f"{path}.{feed}", f"{path}.{feed}")),
            several,
        )
        for i, (attention, feed, several) in enumerate(expected)
        for path in [f"model.layers.{i}"]
    ]
    assert layers(_of(kind, **own)) == found


def test_a_feed_forward_that_has_a_norm_of_its_own_is_one(make_model: MakeModel) -> None:
    model = make_model("llama")

    class NormedMLP(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.norm, self.parts = nn.LayerNorm(32), nn.Sequential(inner)

    model.model.layers[1].mlp = NormedMLP(model.model.layers[1].mlp)
    assert layers(model)[1] == LAST["llama"]


def test_a_t5_layer_is_not_taken_for_a_stack(make_model: MakeModel) -> None:
    assert list(stacks(make_model("t5"))) == ["encoder.block", "decoder.block"]


def test_norms_are_told_from_what_holds_them(make_model: MakeModel) -> None:
    model = make_model("qwen3")
    norms = [n for n, m in model.named_modules() if is_norm(m)]
    assert len(norms) == 2 * 4 + 1
    assert all("norm" in n for n in norms)
    assert not is_norm(nn.Linear(2, 2))


def test_a_model_without_layers_is_refused(make_model: MakeModel) -> None:
    model = make_model("llama")
    model.model.layers = nn.ModuleList()
    with pytest.raises(InputError, match="LlamaForCausalLM has no stack of layers"):
        stacks(model)


def test_a_layer_with_two_feed_forwards_is_refused(make_model: MakeModel) -> None:
    model = make_model("llama")
    model.model.layers[1].mlp = nn.Sequential(nn.Linear(2, 2))
    model.model.layers[1].other = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"bottleneck: model\.layers\.1: one attention and one"):
        layers(model)
