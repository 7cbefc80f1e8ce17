"""Adapters on experts among everything else that is done with adapters."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.inference.routed import UnroutableError
from brulee.inference.routing import Router
from brulee.methods import build_method
from brulee.methods.checkpoint import open_adapter
from brulee.methods.continuing import start_of
from brulee.methods.differences import compare
from brulee.methods.storing import save_adapter
from brulee.methods.swapping import Swap
from brulee.recipe import MethodSpec, recipe_from_dict
from brulee.serving.bounds import check_bounds
from brulee.serving.limits import Limits

_FOUND = runpy.run_path(str(Path(__file__).parents[2] / "experts.py"))
make_experts: Callable[..., PreTrainedModel] = _FOUND["make_experts"]
as_base: Callable[..., Any] = _FOUND["as_base"]


def _stored(name: str, folder: Path, seed: int, **options: Any) -> Path:
    base = as_base(make_experts(name), name)
    attached = build_method(MethodSpec(name="lora", **options)).attach(base.model)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=draw))
    save_adapter(folder, attached, base, "tiny", "", {})
    return folder


@pytest.mark.parametrize("target", ["experts", "router"])
def test_corrections_of_experts_are_not_compared_as_if_they_were_one(
    tmp_path: Path, target: str
) -> None:
    a = open_adapter(_stored("qwen3", tmp_path / "a", 0, target=target))
    with pytest.raises(InputError, match="of experts or a router"):
        compare(a, a)


def test_maps_that_are_stored_by_their_weights_are_compared(tmp_path: Path) -> None:
    """PEFT is told of a shared expert's maps by their weights, with ranks by those too."""
    ranks = {"down_proj": 5}
    folders = [_stored("glm4", tmp_path / f"{i}", i, ranks=ranks) for i in range(2)]
    found = compare(*map(open_adapter, folders))
    norms = {part.name: part.norm_a for part in found.parts if part.kind == "product"}
    path = "model.layers.1.mlp.shared_experts.down_proj"
    tensors = open_adapter(folders[0]).tensors()
    a, b = (tensors[f"base_model.model.{path}.lora_{x}.weight"] for x in "AB")
    assert a.shape[0] == 5
    expected = float((16 / 5 * b @ a).norm())
    assert next(n for name, n in norms.items() if path in name) == pytest.approx(expected)


def test_maps_of_a_type_with_experts_are_named_by_their_weights_in_dense_layers_too() -> None:
    """By module name, PEFT takes them for experts, whether or not a layer has any."""
    model = make_experts("qwen3", mlp_only_layers=[0, 1])
    config = build_method(MethodSpec(name="lora")).attach(model).config()
    assert config["target_modules"] == ["k_proj", "o_proj", "q_proj", "v_proj"]
    maps = ["down_proj.weight", "gate_proj.weight", "up_proj.weight"]
    assert config["target_parameters"] == maps


@pytest.mark.parametrize("target", ["experts", "router"])
@pytest.mark.parametrize("name", ["qwen3", "gpt-oss"])
def test_its_tokens_are_not_mixed_with_others(tmp_path: Path, name: str, target: str) -> None:
    base = as_base(make_experts(name), name)
    swap, router = Swap(base), Router(base.model)
    swap.add("a", _stored(name, tmp_path / "a", 0, target=target))
    view, attached = swap.view("a")
    assert attached is not None
    with pytest.raises(UnroutableError, match="no single map"):
        router.add("a", view.model, attached)
    ids = torch.arange(5, 20)[None]
    with torch.no_grad():
        assert not torch.allclose(view.model(ids).logits, base.model(ids).logits, atol=0.01)


def test_a_server_bounds_the_rank_of_one_expert(tmp_path: Path) -> None:
    folder = _stored("qwen3", tmp_path / "a", 0, target="experts", rank=3)
    check_bounds(folder, Limits(rank=3))
    with pytest.raises(InputError, match="rank 3"):
        check_bounds(folder, Limits(rank=2))


def test_the_seed_decides_how_experts_begin_and_what_is_beside_them_does_not_change() -> None:
    drawn = []
    for seed, target in ((1, ["experts"]), (1, ["experts"]), (2, ["experts"])):
        model = make_experts("qwen3")
        attached = build_method(MethodSpec(name="lora", target=target)).attach(model, seed)
        drawn.append(attached.tensors())
    key = "base_model.model.model.layers.0.mlp.experts.lora_A.weight"
    assert torch.equal(drawn[0][key], drawn[1][key])
    assert not torch.equal(drawn[0][key], drawn[2][key])
    assert drawn[0][key].shape == (8 * 8, 16)
    assert all(not t.any() for k, t in drawn[0].items() if "lora_B" in k)


@pytest.mark.parametrize("layers", [{"last": 1}, [1]])
def test_experts_of_some_layers(layers: Any) -> None:
    model = make_experts("qwen3")
    method = build_method(MethodSpec(name="lora", target="experts", layers=layers))
    tensors = method.attach(model).tensors()
    assert tensors
    assert all(".layers.1." in key for key in tensors)


@pytest.mark.parametrize("name", ["qwen3", "gpt-oss"])
def test_corrections_of_experts_are_trained_further(tmp_path: Path, name: str) -> None:
    stored = _stored(name, tmp_path, 0, target=["all-linear", "experts", "router"])
    values = {"data": {"source": "unread"}, "method": {"start": str(stored)}}
    start, base = start_of(recipe_from_dict(values)), as_base(make_experts(name), name)
    assert start is not None
    again, expected = start.attach(base), open_adapter(stored).tensors()
    assert again.trainable() == sum(tensor.numel() for tensor in expected.values())
    assert all(torch.equal(tensor, expected[key]) for key, tensor in again.tensors().items())
