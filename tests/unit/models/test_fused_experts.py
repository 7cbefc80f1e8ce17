"""Mixtures of experts through the fused decoder: what the model itself computes, ties included."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from brulee.data.batching import common_start, pack, pad
from brulee.data.encoding import Encoded
from brulee.methods import build_method
from brulee.models import fused_decoder, fused_trial
from brulee.models.attention import packed, packs_exactly
from brulee.models.experts import experts_in, router_modules
from brulee.models.form_reading import read_form
from brulee.models.fused_decoder import FusedDecoder
from brulee.models.head import CompletionLoss
from brulee.models.layer_form import DecoderForm
from brulee.recipe import MethodSpec

_FOUND = runpy.run_path(str(Path(__file__).parents[2] / "experts.py"))
make_experts: Callable[..., PreTrainedModel] = _FOUND["make_experts"]
FAMILIES = [
    *("qwen3", "qwen2", "mixtral", "olmoe", "granite", "ernie", "glm4", "hunyuan", "gpt-oss"),
    "llama4",
    *("deepseek2", "deepseek3"),
]
METHODS: list[dict[str, Any]] = [
    {"name": "lora", "rank": 4, "target": ["all-linear", "experts", "router"]},
    {"name": "full"},
    {"name": "bottleneck", "kind": "parallel", "reduction": 4},
    {"name": "prefix", "tokens": 4, "init": "random"},
]
DOCUMENTS = [
    Encoded.ending((7, 8, 9, 10, 11, 12, 13, 14), 3),
    Encoded((7, 8, 9, 21, 22, 23, 24, 25, 26), ((4, 6), (7, 8))),
    Encoded.ending((7, 8, 9, *range(41, 55)), 9),
]


def _tuned(name: str, method: dict[str, Any], **changes: Any) -> PreTrainedModel:
    model = make_experts(name, **changes)
    draw = torch.Generator().manual_seed(1)
    for group in build_method(MethodSpec(**method)).attach(model).groups():
        for parameter in group.parameters:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=draw)
    return model


def _taken(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def _alone(model: PreTrainedModel) -> torch.Tensor:
    """By transformers' forward, one document at a time, and PyTorch's cross-entropy."""
    total = torch.zeros(())
    for document in DOCUMENTS:
        logits = model(input_ids=torch.tensor([document.ids])).logits[0]
        for start, end in document.spans:
            wanted = torch.tensor(document.ids[start:end])
            total = total + F.cross_entropy(logits[start - 1 : end - 1], wanted, reduction="sum")
    return total


@pytest.mark.diagonal("name", "method")
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m["name"])
@pytest.mark.parametrize("name", FAMILIES)
def test_losses_and_gradients_are_the_models_own(name: str, method: dict[str, Any]) -> None:
    if name.startswith("deepseek") and method["name"] == "prefix":
        # A prefix does not take values narrower than keys.
        method = {"name": "lora", "rank": 4, "dora": True}
    model = _tuned(name, method)
    loss, expected = CompletionLoss(model), _alone(model)
    assert loss.decoder is not None
    expected.backward()
    gradients = _taken(model)
    for shared in (0, common_start(DOCUMENTS)):
        found = loss(pack(DOCUMENTS, shared))
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)
        found.backward()
        ours = _taken(model)
        assert ours.keys() == gradients.keys()
        for key, gradient in gradients.items():
            torch.testing.assert_close(ours[key], gradient, rtol=1e-4, atol=1e-4, msg=key)


@pytest.mark.parametrize("name", ["qwen3", "granite"])
def test_what_is_computed_again_is_the_same_to_the_bit(name: str) -> None:
    model = _tuned(name, METHODS[0])
    loss = CompletionLoss(model)
    assert loss.decoder is not None
    found = []
    for again in (False, True):
        loss.decoder.recomputes = again
        total = loss(pack(DOCUMENTS, 3))
        total.backward()
        found.append((total.item(), _taken(model)))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(found[0][1][key], found[1][1][key]) for key in found[0][1])


@pytest.mark.parametrize("name", ["qwen3", "mixtral", "glm4"])
def test_experts_that_a_router_cannot_tell_apart_are_chosen_as_the_model_chooses(name: str) -> None:
    """Every expert has a double whose score is the same; which of both it is shows in the loss."""
    model = make_experts(name)
    for router in router_modules(model).values():
        weight = router.get_parameter("weight").data
        weight[1::2] = weight[::2]
    loss = CompletionLoss(model)
    assert loss.decoder is not None
    with torch.no_grad():
        found, expected = loss(pack(DOCUMENTS, 3)).item(), _alone(model).item()
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["qwen3", "olmoe", "granite"])
def test_a_bf16_model_is_as_near_to_fp32_as_by_its_layers(name: str) -> None:
    model = _tuned(name, METHODS[0])
    with torch.no_grad():
        exact = _alone(model).item()
        model.to(torch.bfloat16)
        decoder = FusedDecoder(model, _form(model))
        loss = CompletionLoss(model)
        loss.decoder = decoder
        found, own = loss(pack(DOCUMENTS, 3)).item(), _alone(model).item()
    assert abs(found - exact) <= 2 * abs(own - exact) + 0.02 * exact


def _form(model: PreTrainedModel) -> DecoderForm:
    form = read_form(model)
    assert form is not None
    return form


@pytest.mark.parametrize("name", ["phi"])
def test_others_are_left_to_their_layers(name: str) -> None:
    assert fused_decoder.fused_decoder(make_experts(name)) is None


def test_tokens_that_are_sent_by_chance_in_training_are_left_to_their_layers() -> None:
    """Phi-MoE always draws; here a jitter of what a router sees does."""
    state = torch.random.get_rng_state()
    assert fused_decoder.fused_decoder(make_experts("mixtral", router_jitter_noise=0.3)) is None
    assert fused_decoder.fused_decoder(make_experts("mixtral")) is not None
    torch.random.set_rng_state(state)


@pytest.mark.parametrize("name", ["gpt-oss", "deepseek2", "deepseek3", "phi", "llama4"])
def test_others_give_their_own_losses_through_packs_or_padding(name: str) -> None:
    model = _tuned(name, METHODS[0])
    loss, expected = CompletionLoss(model), _alone(model)
    expected.backward()
    gradients = _taken(model)
    loss.decoder = None  # as where weights are sharded
    packs = packs_exactly(model)
    assert packs == (name not in ("gpt-oss", "llama4"))
    with packed(model) if packs else nullcontext():
        found = loss(pack(DOCUMENTS, 0) if packs else pad(DOCUMENTS, 0))
        found.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    ours = _taken(model)
    assert ours.keys() == gradients.keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(ours[key], gradient, rtol=1e-4, atol=1e-4, msg=key)


@pytest.mark.parametrize(("name", "wrong"), [("qwen3", "before_mlp"), ("gpt-oss", "sinks")])
def test_what_is_misread_in_a_layer_of_experts_is_found(
    name: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_experts(name)
    assert fused_trial.form_is_right(model, _form(model), FusedDecoder)

    def misread(model: PreTrainedModel) -> DecoderForm:
        layers = read_form(model)
        assert layers is not None
        left_out = {wrong: None if wrong == "before_mlp" else ""}
        return DecoderForm(tuple(replace(each, **left_out) for each in layers.layers))

    monkeypatch.setattr(fused_trial, "read_form", misread)
    assert not fused_trial.form_is_right(model, misread(model), FusedDecoder)


def test_noise_of_a_router_is_left_alone() -> None:
    assert fused_decoder.fused_decoder(make_experts("mixtral", router_jitter_noise=0.1)) is None


@pytest.mark.parametrize(("name", "used"), [("qwen3", (8, 2)), ("ernie", (8, 2)), ("phi", (4, 2))])
def test_experts_are_counted(name: str, used: tuple[int, int]) -> None:
    model = make_experts(name)
    found = experts_in(model)
    assert found is not None
    assert (found.each, found.used) == used
    named = sum(p.numel() for n, p in model.named_parameters() if ".experts." in n)
    assert found.values == named
