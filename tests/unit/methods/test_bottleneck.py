"""Bottleneck adapters: where they stand, how many parameters, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

from brulee.data.batching import pack
from brulee.data.encoding import Encoded
from brulee.errors import InputError
from brulee.methods.adapter_files import CONFIG, OURS
from brulee.methods.base import Attached
from brulee.methods.bottleneck import Bottleneck, BottleneckOptions
from brulee.methods.bottleneck_places import last_norms
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.storing import save_adapter
from brulee.models.attention import packed, packs_exactly
from brulee.models.loading import Base

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MakeModel = Callable[..., "PreTrainedModel"]
MakeBase = Callable[..., Base]
IDS = torch.randint(5, 300, (2, 12), generator=torch.Generator().manual_seed(0))


def _attach(model: PreTrainedModel, **options: Any) -> Attached:
    """On the model, with random values."""
    attached = Bottleneck(BottleneckOptions.model_validate(options)).attach(model)
    draw = torch.Generator().manual_seed(1)
    attached.load(
        {k: 0.2 * torch.randn(t.shape, generator=draw) for k, t in attached.tensors().items()}
    )
    return attached


def _f(tensors: dict[str, torch.Tensor], key: str, x: torch.Tensor) -> torch.Tensor:
    """The adapter by its definition, with relu."""
    t = {name: tensors[f"{key}.{name}"] for name in ("down", "down_bias", "up", "up_bias")}
    return F.relu(x @ t["down"].T + t["down_bias"]) @ t["up"].T + t["up_bias"]


# Adapters in a model of two layers, or two and two.
PLACES = {
    ("llama", "houlsby", False): 4,
    ("llama", "pfeiffer", False): 2,
    ("gpt-neox", "parallel", False): 2,
    ("t5", "houlsby", False): 8,
    ("t5", "houlsby", True): 10,
    ("bart", "houlsby", True): 10,
    ("bart", "pfeiffer", False): 4,
    ("t5gemma", "houlsby", True): 10,
    ("t5gemma", "parallel", False): 4,
    ("qwen3_5", "houlsby", False): 4,  # one layer with linear attention
    ("qwen3_5", "pfeiffer", False): 2,
    ("gemma4", "houlsby", False): 4,  # with two linear layers after the feed-forward
    ("gemma4", "parallel", False): 2,
    ("mamba", "houlsby", False): 2,  # no feed-forward
}


@pytest.mark.parametrize(("name", "kind", "cross"), PLACES)
def test_parameters_are_counted_in_closed_form(
    make_model: MakeModel, name: str, kind: str, cross: bool
) -> None:
    width, bottleneck = 32, 5
    attached = _attach(make_model(name), kind=kind, width=bottleneck, cross_attention=cross)
    one = 2 * width * bottleneck + bottleneck + width
    assert attached.trainable() == PLACES[name, kind, cross] * one


def test_the_layers_of_gpt_give_lists() -> None:
    config = OpenAIGPTConfig(vocab_size=300, n_embd=32, n_layer=2, n_head=4)
    model = OpenAIGPTLMHeadModel(config).eval()
    before = model(input_ids=IDS).logits
    attached = _attach(model)
    assert not torch.allclose(model(input_ids=IDS).logits, before, atol=1e-2)
    attached.detach()
    assert torch.equal(model(input_ids=IDS).logits, before)


@pytest.mark.parametrize(
    ("options", "bottleneck"), [({}, 2), ({"reduction": 5.0}, 6), ({"reduction": 100.0}, 1)]
)
def test_reduction_divides_the_width(
    make_model: MakeModel, options: dict[str, float], bottleneck: int
) -> None:
    attached = _attach(make_model("llama"), **options)
    assert attached.config()["width"] == bottleneck
    assert attached.trainable() == 2 * (2 * 32 * bottleneck + bottleneck + 32)


def test_a_layer_that_norms_first_is_what_the_papers_say(make_model: MakeModel) -> None:
    """A llama layer by hand, for the three kinds."""
    model = make_model("llama", num_hidden_layers=1)
    layer = model.model.layers[0]
    x = model.model.embed_tokens(IDS)
    position = model.model.rotary_emb(x, torch.arange(12).unsqueeze(0))
    mask = torch.full((12, 12), -torch.inf).triu(1)[None, None]
    said = {}
    for kind in ("houlsby", "pfeiffer", "parallel"):
        attached = _attach(model, kind=kind, width=3, scaling=0.5)
        said[kind] = layer(x, attention_mask=mask, position_embeddings=position)
        tensors = attached.tensors()
        attached.detach()
        key = "model.layers.0.bottleneck_"
        a = layer.self_attn(
            layer.input_layernorm(x), attention_mask=mask, position_embeddings=position
        )[0]
        if kind == "houlsby":
            a = a + 0.5 * _f(tensors, f"{key}attention", a)
        given = layer.post_attention_layernorm(x + a)
        h = layer.mlp(given)
        read = {"houlsby": h, "pfeiffer": x + a + h, "parallel": given}[kind]
        expected = x + a + h + 0.5 * _f(tensors, f"{key}feed_forward", read)
        torch.testing.assert_close(said[kind], expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(said["pfeiffer"], said["houlsby"], atol=1e-2)


def test_pfeiffer_after_a_norm_is_what_the_paper_says(make_model: MakeModel) -> None:
    """A BART encoder layer by hand: the adapter reads the normed sum."""
    model = make_model("bart", encoder_layers=1)
    layer = model.model.encoder.layers[0]
    x = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(2))
    attached = _attach(model, kind="pfeiffer", width=3)
    said, tensors = layer(x, None), attached.tensors()
    said = said[0] if isinstance(said, tuple) else said
    attached.detach()
    s = layer.self_attn_layer_norm(x + layer.self_attn(x)[0])
    h = layer.fc2(layer.activation_fn(layer.fc1(s)))
    read = layer.final_layer_norm(s + h)
    f = _f(tensors, "model.encoder.layers.0.bottleneck_feed_forward", read)
    torch.testing.assert_close(said, layer.final_layer_norm(s + h + f), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "after"), [("llama", 0), ("gpt2", 0), ("gpt-neox", 0), ("t5", 0), ("bart", 4)]
)
def test_layers_that_norm_last_are_told(make_model: MakeModel, name: str, after: int) -> None:
    model = make_model(name).train()
    norms = last_norms(model)
    assert len(norms) == after
    assert model.training
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize("kind", ["houlsby", "pfeiffer", "parallel"])
def test_nothing_leaks_between_packed_documents(make_base: MakeBase, kind: str) -> None:
    base = make_base("llama")
    _attach(base.model, kind=kind)
    assert packs_exactly(base.model)
    a, b = Encoded.ending(range(5, 25), 4), Encoded.ending(range(30, 60), 4)
    with torch.no_grad(), packed(base.model):
        both = base.model(**pack([a, b]).inputs, use_cache=False).logits
        alone = base.model(**pack([b]).inputs, use_cache=False).logits
    torch.testing.assert_close(both[:, 20:], alone, atol=1e-5, rtol=1e-5)


def test_gradient_checkpointing_gives_the_same_gradients(make_model: MakeModel) -> None:
    found = []
    for checkpointing in (False, True):
        model = make_model("bart")
        attached = _attach(model, kind="parallel", width=3)
        if checkpointing:
            # By its newer name, or that of before.
            now = getattr(model, "activation_checkpointing_enable", None)
            (now or model.gradient_checkpointing_enable)()
        model.train()
        model(input_ids=IDS, decoder_input_ids=IDS).logits.square().mean().backward()
        found.append([p.grad for group in attached.groups() for p in group.parameters])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain)


def test_adapters_compute_in_the_base_s_precision(make_model: MakeModel) -> None:
    model = make_model("llama").to(torch.bfloat16)
    attached = _attach(model, kind="houlsby")
    logits = model(input_ids=IDS).logits
    assert logits.dtype == torch.bfloat16
    logits.float().square().mean().backward()
    for group in attached.groups():
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in group.parameters)


def test_merging_is_refused_with_a_way_out(make_model: MakeModel) -> None:
    model = make_model("llama")
    attached = _attach(model)
    tuned = model(input_ids=IDS).logits
    with pytest.raises(InputError, match=r"bottleneck cannot merge.*not linear.*method.name=lora"):
        attached.merge()
    assert torch.equal(model(input_ids=IDS).logits, tuned)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 8, "reduction": 16.0}, "method.width and method.reduction"),
        ({"kind": "pfeiffer", "cross_attention": True}, "only read with kind=houlsby"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Bottleneck(BottleneckOptions.model_validate(options))


@pytest.mark.parametrize(
    ("name", "changes", "kind", "said"),
    [
        ("mamba", {}, "pfeiffer", "no layer of MambaFor.* has a feed-forward; valid: houlsby"),
        (
            "gemma4",
            {
                "enable_moe_block": True,
                "num_experts": 4,
                "top_k_experts": 2,
                "moe_intermediate_size": 16,
            },
            "houlsby",
            r"layers\.0 of Gemma4For.* several feed-forwards.* valid: pfeiffer, parallel",
        ),
    ],
)
def test_a_kind_that_has_no_place_in_a_layer_names_those_that_have(
    make_model: MakeModel, name: str, changes: dict[str, Any], kind: str, said: str
) -> None:
    model = make_model(name, **changes)
    with pytest.raises(InputError, match=rf"method\.kind={kind}: .*{said}"):
        _attach(model, kind=kind)
    assert not any(hasattr(m, "bottleneck_feed_forward") for m in model.modules())


def test_stacks_of_different_widths_are_refused(make_model: MakeModel) -> None:
    model = make_model("t5gemma", encoder={"hidden_size": 48})
    with pytest.raises(InputError, match="48 wide and its decoder 32"):
        Bottleneck(BottleneckOptions()).attach(model)


def test_a_model_without_an_encoder_has_no_attention_to_one(make_base: MakeBase) -> None:
    options = BottleneckOptions(kind="houlsby", cross_attention=True)
    base = make_base("llama")
    with pytest.raises(InputError, match=r"method\.cross_attention: LlamaFor.* has no encoder"):
        Bottleneck(options).attach(base.model)
    assert all(p.requires_grad for p in base.model.parameters())
    # One that was trained with it is what it would be without.
    stored = _attach(base.model, kind="houlsby").config()
    Bottleneck.from_config({**stored, "cross_attention": True}).attach(make_base("llama").model)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "compacter"}, "adapter_config.json: not a bottleneck: kind = 'compacter' is not"),
        ({"width": 5}, "has shape"),
        ({"kind": "houlsby"}, "lacks tensor 'model.layers.0.bottleneck_attention.down'"),
    ],
)
def test_a_spoilt_configuration(
    make_base: MakeBase, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    base = make_base("llama")
    save_adapter(tmp_path, _attach(base.model), base, "tiny", "a card", {})
    (tmp_path / OURS).unlink()  # its digest would already say that the settings differ
    file = tmp_path / CONFIG
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(InputError, match=said):
        attach_adapter(open_adapter(tmp_path), make_base("llama"))
