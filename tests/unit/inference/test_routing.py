"""Tokens of several adapters in one pass: each comes out as it does with its adapter alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import JetMoeConfig, JetMoeForCausalLM

from brulee.inference.reading import read
from brulee.inference.routed import Routed, UnroutableError
from brulee.inference.routing import Router, _OwnValues
from brulee.methods import METHODS, build_method
from brulee.methods.storing import save_adapter
from brulee.methods.swapping import Swap
from brulee.models.loading import Base
from brulee.recipe import MethodSpec

MakeBase = Callable[..., Base]
# Gemma 3 norms its heads after it has put them before the tokens, DeepSeek maps a single head.
ARCHITECTURES = [
    *("llama", "qwen3", "gemma", "gemma3", "mistral", "phi", "gpt2", "gpt-neox", "deepseek"),
]
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name, method in METHODS.items() if not method.stores_model},
    # Of one scale, so that the two corrections are computed as one.
    "scale two": ("lora", {"rank": 8, "alpha": 16.0}),
    "scale two again": ("lora", {"rank": 3, "alpha": 6.0, "target": "attention"}),
    "dora": ("lora", {"rank": 3, "dora": True, "target": "attention"}),
    "pissa": ("lora", {"rank": 3, "init": "pissa"}),
    "embeddings": ("lora", {"rank": 3, "target": "embeddings"}),
    "norms": ("selective", {"train": "norms"}),
    "houlsby": ("bottleneck", {"kind": "houlsby"}),
    "parallel": ("bottleneck", {"kind": "parallel"}),
}


def store(
    base: Base, way: str, folder: Path, options: tuple[str, dict[str, Any]] | None = None
) -> None:
    name, more = options or WAYS[way]
    attached = build_method(MethodSpec(name=name, **more)).attach(base.model, 0)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.05)
    save_adapter(folder, attached, base, "tiny", "a card", {})
    attached.detach()


def hold(base: Base, tmp_path: Path) -> tuple[Swap, Router, dict[str, str]]:
    """Every adapter that the model takes, and why others are not mixed."""
    swap, router, refused = Swap(base), Router(base.model), {}
    # DeepSeek's keys and values differ in width, which a prefix does not take.
    ways = [way for way in WAYS if (base.name, way) != ("deepseek", "prefix")]
    for way in ways:
        store(base, way, tmp_path / way)
        swap.add(way, tmp_path / way)
    for way in ways:
        view, attached = swap.view(way)
        assert attached is not None
        try:
            router.add(way, view.model, attached)
        except UnroutableError as error:
            refused[way] = str(error)
    return swap, router, refused


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
@pytest.mark.fast_cases(4)
def test_every_token_comes_out_as_with_its_adapter_alone(
    make_base: MakeBase, tmp_path: Path, name: str
) -> None:
    base = make_base(name)
    swap, router, refused = hold(base, tmp_path)
    assert not refused
    draw = torch.Generator().manual_seed(1)
    owners = [None, *router.names] * 3
    ids = torch.randint(5, 300, (len(owners),), generator=draw)
    positions = torch.arange(len(owners))
    with router.computing(owners, base.device) as shifts:
        shifted = positions + torch.tensor(shifts)
        mixed = read(router.model, ids, shifted, _OwnValues(), positions)
    plain = read(base.model, ids, positions, _OwnValues(), positions)
    for owner in [None, *router.names]:
        mine = torch.tensor([at for at, one in enumerate(owners) if one == owner])
        alone = read(swap.view(owner)[0].model, ids, positions, _OwnValues(), positions)
        assert torch.equal(mixed[mine], alone[mine]), owner
        # A prompt and a prefix are read before the tokens that are routed, and may move them.
        if owner not in ("prompt", "prefix"):
            assert torch.equal(mixed[mine], plain[mine]) == (owner is None), owner


def test_a_model_that_takes_a_view_of_attention_s_output_is_mixed(
    make_base: MakeBase, tmp_path: Path
) -> None:
    sizes = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 16, "num_hidden_layers": 2}
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2}
    config = JetMoeConfig(**sizes, **experts, num_key_value_heads=2, kv_channels=8)
    base = replace(make_base("llama"), model=JetMoeForCausalLM(config).eval())
    store(base, "norms", tmp_path / "norms")
    swap, router = Swap(base), Router(base.model)
    swap.add("norms", tmp_path / "norms")
    view, attached = swap.view("norms")
    assert attached is not None
    router.add("norms", view.model, attached)
    assert router.names == ["norms"]


@torch.no_grad()
def test_as_many_tokens_as_heads_are_told_from_them(make_base: MakeBase, tmp_path: Path) -> None:
    """By what was seen when the adapter was tried."""
    base = make_base("gemma3", num_key_value_heads=4)
    store(base, "norms", tmp_path / "norms")
    swap, router = Swap(base), Router(base.model)
    swap.add("norms", tmp_path / "norms")
    view, attached = swap.view("norms")
    assert attached is not None
    router.add("norms", view.model, attached)
    ids, positions = torch.tensor([7, 8, 9, 10]), torch.arange(4)
    with router.computing([None, "norms", None, "norms"], base.device):
        mixed = read(router.model, ids, positions, _OwnValues(), positions)
    for model, own in ((base.model, slice(0, None, 2)), (view.model, slice(1, None, 2))):
        assert torch.equal(mixed[own], read(model, ids, positions, _OwnValues(), positions)[own])


def test_an_adapter_that_is_let_go_leaves_the_others_and_the_base(
    make_base: MakeBase, tmp_path: Path
) -> None:
    base = make_base("llama")
    swap, router, _ = hold(base, tmp_path)
    modules = [type(m) for m in base.model.modules()]
    for name in list(router.names):
        router.remove(name)
        swap.remove(name)
    assert [type(m) for m in router.model.modules()] == modules
    assert not any(m._forward_hooks for m in router.model.modules())


@pytest.mark.parametrize("way", ["sparse", "hook", "wrong"])
def test_what_cannot_be_mixed_is_told_and_leaves_nothing(
    make_base: MakeBase, tmp_path: Path, way: str
) -> None:
    base = make_base("llama")
    swap, router, _ = hold(base, tmp_path)
    before, names = [type(m) for m in router.model.modules()], router.names
    view, attached = swap.view("lora")
    assert attached is not None
    if way == "sparse":
        options = {"train": "sparse", "mask": "magnitude"}
        store(base, "sparse", tmp_path / "sparse", options=("selective", options))
        swap.add("sparse", tmp_path / "sparse")
        view, attached = swap.view("sparse")
        assert attached is not None
    elif way == "hook":
        view.model.get_submodule("model.layers.1").register_forward_hook(lambda *_: None)
    else:  # does something else than its parts say
        layer = view.model.get_submodule("model.layers.0.self_attn.o_proj")
        layer.forward = lambda x: layer.after(x[0], layer.base_layer(x[0]))[None] + 1
    with pytest.raises(UnroutableError):
        router.add("another", view.model, attached)
    assert [type(m) for m in router.model.modules()] == before
    assert router.names == names
    parts = [m.parts for m in router.model.modules() if isinstance(m, Routed)]
    assert not any("another" in own for own in parts)


def test_an_adapter_is_not_refused_for_lack_of_memory(make_base: MakeBase, tmp_path: Path) -> None:
    """It would have passes of its own for as long as it is held."""
    swap, router, _ = hold(make_base("llama"), tmp_path)
    names, (view, attached) = router.names, swap.view("lora")
    assert attached is not None

    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    view.model.get_submodule("model.layers.0.mlp.down_proj").after = exhausted
    with pytest.raises(torch.OutOfMemoryError):
        router.add("another", view.model, attached)
    assert router.names == names
