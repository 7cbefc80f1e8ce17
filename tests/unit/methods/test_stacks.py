"""Layers and sub-layers, told by structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
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
    model.model.layers[1].other = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"bottleneck: model\.layers\.1: one attention and one"):
        layers(model)
