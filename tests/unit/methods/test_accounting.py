"""What is counted without weights is what training would really hold and store."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.errors import InputError
from brulee.methods import METHODS, build_method
from brulee.methods.accounting import ON_ONE_MAP, count, file_bytes
from brulee.methods.storing import save_adapter
from brulee.models.loading import Base, load_base
from brulee.models.skeleton import load_skeleton, one_map
from brulee.recipe import MethodSpec, TrainSpec
from brulee.training.optim import optimizer_of

MakeBase = Callable[..., Base]


def test_the_textbook_case() -> None:
    full, lora = count(lambda: one_map(512, 64), {"rank": 8}, ON_ONE_MAP)
    assert (full.trainable, full.share) == (32_768, 1.0)
    assert lora.tensors is not None
    assert sorted(lora.tensors.values()) == [(8, 64), (512, 8)]
    assert lora.trainable == 8 * 64 + 512 * 8 == 4_608
    assert round(1 - lora.share, 2) == 0.86


@pytest.fixture(params=["llama", "gpt2", "bart"])
def folder(
    request: pytest.FixtureRequest,
    make_base: MakeBase,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    base = make_base(request.param)
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.diagonal("name", "folder")
@pytest.mark.parametrize("name", METHODS)
def test_counts_are_those_of_a_stored_adapter_and_a_real_optimiser(
    folder: Path, tmp_path: Path, name: str
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(folder / "config.json", bare)  # all that counting may read
    [counted] = count(lambda: load_skeleton(str(bare)), {}, (name,))
    assert counted.refusal is None

    base = load_base(str(folder), torch.float32, torch.device("cpu"))
    attached = build_method(MethodSpec(name=name)).attach(base.model)
    assert counted.trainable == attached.trainable() > 0
    assert counted.stored_bytes == pytest.approx(_stored(attached, base, tmp_path / "made"), abs=64)
    optimiser = optimizer_of(TrainSpec(), attached.groups(), 1e-3)
    trained = [p for group in attached.groups() for p in group.parameters]
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    state = [t for values in optimiser.state.values() for t in values.values()]
    assert counted.optimizer_bytes == sum(t.numel() * t.element_size() for t in state)
    grads = [p.grad for p in trained if p.grad is not None]
    assert counted.gradient_bytes == sum(g.numel() * g.element_size() for g in grads)
    total = sum(p.numel() for p in base.model.parameters() if p.requires_grad or name != "full")
    if name == "full":
        assert counted.share == counted.trainable / total == 1.0
    else:
        attached.detach()
        assert counted.share == counted.trainable / sum(p.numel() for p in base.model.parameters())


def _stored(attached: Any, base: Base, folder: Path) -> int:
    """Bytes of the weights on disk; of a whole model those that transformers writes."""
    if attached.config()["peft_type"] != "BRULEE_FULL":
        return save_adapter(folder, attached, base, "tiny", "a card", {})
    base.model.save_pretrained(folder)
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def test_the_length_of_an_adapters_file_is_exact(make_base: MakeBase, tmp_path: Path) -> None:
    base = make_base("llama")
    sparse = {"train": "sparse", "mask": "magnitude"}
    for spec in (MethodSpec(name="lora"), MethodSpec(name="selective", **sparse)):
        attached = build_method(spec).attach(base.model)
        size = save_adapter(tmp_path, attached, base, "tiny", "a card", {})
        assert file_bytes(attached.tensors()) == size
        attached.detach()


@pytest.mark.parametrize("mask", ["fisher", "sam"])
def test_a_mask_that_wants_documents_is_counted_without_any(folder: Path, mask: str) -> None:
    options = {"train": "sparse", "density": 0.02}
    make = lambda: load_skeleton(str(folder))  # noqa: E731
    [counted] = count(make, {**options, "mask": mask}, ("selective",))
    [by_size] = count(make, {**options, "mask": "magnitude"}, ("selective",))
    assert counted.trainable == by_size.trainable > 0


@pytest.mark.parametrize("name", ["prompt", "prefix"])
def test_a_text_to_start_from_is_counted_without_a_tokenizer(
    tiny_model_folder: Path, name: str
) -> None:
    def of(**options: Any) -> Any:
        return count(lambda: load_skeleton(str(tiny_model_folder)), options, (name,))[0]

    assert of(tokens=4, init_text="Say it short") == of(tokens=4)


def test_options_go_to_the_methods_that_have_them(tiny_model_folder: Path) -> None:
    make = lambda: load_skeleton(str(tiny_model_folder))  # noqa: E731
    plain = {c.method: c.trainable for c in count(make)}
    changed = {c.method: c.trainable for c in count(make, {"rank": 16, "tokens": 40})}
    differ = {name for name in plain if changed[name] != plain[name]}
    assert {"lora", "prompt"} <= differ
    assert not {"full", "selective", "ia3"} & differ
    assert changed["lora"] == 2 * plain["lora"]
    assert changed["prompt"] == 2 * plain["prompt"]


def test_a_method_that_is_added_later_is_counted(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "later", METHODS["ia3"])
    assert "later" in [c.method for c in count(lambda: load_skeleton(str(tiny_model_folder)))]


def test_a_method_that_does_not_fit_says_why_and_the_others_are_counted(folder: Path) -> None:
    make = lambda: load_skeleton(str(folder))  # noqa: E731
    by_name = {c.method: c for c in count(make, {"target": "no_such_map"})}
    assert "no_such_map" in (by_name["lora"].refusal or "")
    assert by_name["selective"].trainable > 0


@pytest.mark.parametrize(
    ("options", "names", "said"),
    [
        ({"rnk": 8}, ("lora",), "did you mean 'rank'"),
        ({"rank": 8}, ("ia3",), "unknown option 'rank'"),
        ({"rank": "x"}, ("lora",), "--set rank: method.rank = 'x' is not valid"),
        ({}, ("lorra",), "did you mean 'lora'"),
    ],
    ids=str,
)
def test_mistakes_are_named(options: dict[str, Any], names: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        count(lambda: one_map(8, 8), options, names)


@pytest.mark.parametrize("name", ["nowhere", "./nowhere", "a/b/c"])
def test_a_model_that_is_not_there(name: str) -> None:
    with pytest.raises(InputError, match="no such folder or file"):
        load_skeleton(name)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"it has no config\.json"):
        load_skeleton(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "nonsense"}')
    with pytest.raises(InputError, match="its configuration cannot be read"):
        load_skeleton(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("lora", {"rank": 10**13}, "method.rank: a rank of 10000000000000 is higher"),
        ("lora", {"rank": 10**400}, "higher than any target has room for; valid: 1 to "),
        ("lora", {"ranks": {"c_attn": 10**13}}, "method.ranks 'c_attn': a rank of 10000000000000"),
        ("lora", {"target": "embeddings", "rank": 129}, "a rank of 129 .*; valid: 1 to 128"),
        ("bottleneck", {"width": 10**13}, "32 wide; valid: 1 to 128"),
        ("prefix", {"tokens": 512}, "GPT2LMHeadModel, which reads 512; valid: 1 to 511"),
        ("prompt", {"tokens": 10**13}, "GPT2LMHeadModel, which reads 512; valid: 1 to 511"),
    ],
    ids=str,
)
def test_a_size_that_no_model_has_room_for_is_refused(
    make_base: MakeBase, name: str, options: dict[str, Any], said: str
) -> None:
    [counted] = count(lambda: make_base("gpt2").model, options, (name,))
    assert re.search(said, counted.refusal or "")


def test_a_soft_prompt_has_an_end_where_a_context_has_none(make_base: MakeBase) -> None:
    [counted] = count(lambda: make_base("t5").model, {"tokens": 10**13}, ("prompt",))
    assert "valid: 1 to 65535" in (counted.refusal or "")


def test_nothing_to_train_is_said_and_not_counted_as_none() -> None:
    [counted] = count(lambda: one_map(4, 3), {"train": "norms"}, ("selective",))
    assert "method.train=norms: OneMap has none to train" in (counted.refusal or "")
