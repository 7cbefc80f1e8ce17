"""Several adapters over one base: choosing one leaves no trace in the base nor in the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.errors import InputError
from brulee.methods import METHODS, build_method
from brulee.methods.adapter_files import WEIGHTS
from brulee.methods.base import Attached
from brulee.methods.checkpoint import attach_adapter, open_adapter
from brulee.methods.storing import save_adapter
from brulee.methods.swapping import Swap
from brulee.models.loading import Base
from brulee.recipe import MethodSpec

MakeBase = Callable[..., Base]
ARCHITECTURES = ["llama", "qwen3", "gemma", "mistral", "phi", "gpt2", "gpt-neox", "t5", "bart"]
SPARSE = {"train": "sparse", "mask": "magnitude", "density": 0.05}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name, method in METHODS.items() if not method.stores_model},
    "dora": ("lora", {"rank": 3, "dora": True, "target": "attention"}),
    "embeddings": ("lora", {"rank": 3, "target": "embeddings"}),
    "sparse": ("selective", SPARSE),
    "sparse too": ("selective", {**SPARSE, "density": 0.2}),
}


def _logits(base: Base, attached: Attached | None) -> torch.Tensor:
    ids = torch.randint(5, 300, (1, 9), generator=torch.Generator().manual_seed(0))
    more = {"decoder_input_ids": ids.flip(1)} if base.kind == "seq2seq" else {}
    if attached is not None and attached.prefix_ids:
        ids = torch.cat([torch.tensor([attached.prefix_ids]), ids], dim=1)
    with torch.no_grad():
        logits: torch.Tensor = base.model(input_ids=ids, **more).logits
    return logits


def _store(base: Base, way: str, folder: Path, seed: int = 0) -> None:
    name, options = WAYS[way]
    attached = build_method(MethodSpec(name=name, **options)).attach(base.model, seed)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.05)
    save_adapter(folder, attached, base, "tiny", "a card", {})
    attached.detach()


@pytest.fixture
def base(request: pytest.FixtureRequest, make_base: MakeBase) -> Base:
    return make_base(request.param)


@pytest.fixture
def folders(base: Base, tmp_path: Path) -> dict[str, Path]:
    """An adapter of every method, by name."""
    for way in WAYS:
        _store(base, way, tmp_path / way)
    return {way: tmp_path / way for way in WAYS}


def _held(base: Base, folders: dict[str, Path]) -> Swap:
    swap = Swap(base)
    for name, folder in folders.items():
        swap.add(name, folder)
    return swap


@pytest.mark.parametrize("base", ARCHITECTURES, indirect=True)
def test_every_method_beside_every_other_computes_what_it_computes_alone(
    base: Base, folders: dict[str, Path]
) -> None:
    plain = _logits(base, None)
    alone = {}
    for name, folder in folders.items():
        attached = attach_adapter(open_adapter(folder), base)
        alone[name] = _logits(base, attached)
        attached.detach()
        assert not torch.equal(alone[name][:, -9:], plain), f"{name} does nothing"

    swap = _held(base, folders)
    for name in [*folders, None, *reversed(folders), *sorted(folders), None]:
        expected = plain if name is None else alone[name]
        assert torch.equal(_logits(swap.use(name), swap.attached), expected), name
        assert swap.current == name


@pytest.mark.parametrize("base", ["llama", "t5"], indirect=True)
def test_choosing_copies_and_writes_no_base_weight(base: Base, folders: dict[str, Path]) -> None:
    before = {n: (p.data_ptr(), p._version) for n, p in base.model.named_parameters()}
    beside = {n: f for n, f in folders.items() if "sparse" not in n}
    swap = _held(base, beside)
    for name in [*beside, None]:
        held = {id(p) for p in swap.use(name).model.parameters()}
        assert {id(p) for p in base.model.parameters()} <= held
        assert {n: (p.data_ptr(), p._version) for n, p in base.model.named_parameters()} == before


@pytest.mark.parametrize("base", ["llama", "gpt2"], indirect=True)
def test_closing_leaves_the_base_as_it_was(base: Base, folders: dict[str, Path]) -> None:
    next(base.model.parameters()).requires_grad_(False)
    before = {n: (p.detach().clone(), p.requires_grad) for n, p in base.model.named_parameters()}
    swap = _held(base, folders)
    assert not any(p.requires_grad for p in base.model.parameters())
    swap.use("sparse")
    swap.close()
    assert (swap.names, swap.current, swap.base) == ([], None, base)
    for name, parameter in base.model.named_parameters():
        tensor, had = before[name]
        assert torch.equal(parameter, tensor), name
        assert parameter.requires_grad == had, name


@pytest.mark.parametrize("gone", ["sparse", "sparse too", "lora"])
def test_adding_and_removing_leave_the_one_in_force_alone(
    make_base: MakeBase, tmp_path: Path, gone: str
) -> None:
    base = make_base("llama")
    plain = _logits(base, None)
    for way in ("sparse", "sparse too", "lora"):
        _store(base, way, tmp_path / way)
    swap = Swap(base)
    swap.add("sparse", tmp_path / "sparse")
    expected = _logits(swap.use("sparse"), None)
    swap.add("sparse too", tmp_path / "sparse too")
    swap.add("lora", tmp_path / "lora")
    assert torch.equal(_logits(swap.base, None), expected)
    swap.remove(gone)
    kept = plain if gone == "sparse" else expected
    assert torch.equal(_logits(swap.base, None), kept)
    assert swap.names == [n for n in ("sparse", "sparse too", "lora") if n != gone]
    assert torch.equal(_logits(swap.use(None), None), plain)


def test_a_refused_adapter_leaves_the_others_in_force(make_base: MakeBase, tmp_path: Path) -> None:
    base, other = make_base("llama"), make_base("llama", seed=1)
    _store(base, "lora", tmp_path / "good")
    _store(other, "lora", tmp_path / "other")
    _store(base, "lora", tmp_path / "bad")
    (tmp_path / "bad" / WEIGHTS).write_bytes(b"")
    swap = Swap(base)
    swap.add("good", tmp_path / "good")
    expected = _logits(swap.use("good"), swap.attached)
    for name, said in (("other", "llama-1"), ("bad", "corrupt"), ("none", "not an adapter")):
        with pytest.raises(InputError, match=said):
            swap.add(name, tmp_path / name)
        assert swap.names == ["good"]
        assert torch.equal(_logits(swap.base, swap.attached), expected)


def test_names_are_checked(make_base: MakeBase, tmp_path: Path) -> None:
    base = make_base("llama")
    _store(base, "lora", tmp_path / "chats")
    swap = Swap(base)
    swap.add("chats", tmp_path / "chats")
    with pytest.raises(InputError, match="did you mean 'chats'"):
        swap.use("chat")
    with pytest.raises(InputError, match="unknown adapter 'chat'"):
        swap.remove("chat")
    with pytest.raises(InputError, match="already loaded"):
        swap.add("chats", tmp_path / "chats")
    assert swap.adapter is None
    swap.use("chats")
    assert swap.adapter is not None
    assert swap.adapter.folder == tmp_path / "chats"


def test_views_share_a_quantised_base(make_base: MakeBase, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    plain = make_base("llama", hidden_size=64, intermediate_size=128)
    plain.model.save_pretrained(tmp_path / "plain")
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path / "plain", quantization_config=nf4, dtype=torch.float32
    )
    base = replace(plain, model=model.eval())
    for name in ("lora", "ia3"):
        _store(base, name, tmp_path / name)
    expected = _logits(base, None)
    swap = _held(base, {name: tmp_path / name for name in ("lora", "ia3")})
    lora = _logits(swap.use("lora"), swap.attached)
    assert not torch.equal(_logits(swap.use("ia3"), swap.attached), lora)
    assert torch.equal(_logits(swap.use("lora"), swap.attached), lora)
    assert torch.equal(_logits(swap.use(None), None), expected)
    held = model.model.layers[0].mlp.up_proj.weight
    swap.use("lora")
    view = swap.base.model.model.layers[0].mlp.up_proj.base_layer.weight
    assert view is held
    assert view.quant_state is held.quant_state
