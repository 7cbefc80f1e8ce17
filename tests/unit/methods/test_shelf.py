"""What was tuned is found where it lies, and damage is told in the list rather than ending it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brulee.errors import InputError
from brulee.methods import build_method
from brulee.methods.adapter_files import CONFIG, OURS, WEIGHTS
from brulee.methods.reading import inspect
from brulee.methods.shelf import entries, locate, locate_adapter
from brulee.methods.storing import save_adapter, write_record
from brulee.models.loading import Base
from brulee.recipe import MethodSpec


@pytest.fixture(scope="module")
def base(make_base: Callable[..., Base]) -> Base:
    return make_base("llama")


@pytest.fixture
def runs(base: Base, tmp_path: Path) -> Path:
    """Two runs, one tuned whole, and an adapter by itself; and what is no adapter at all."""
    for name, method in {"chats/adapter": "lora", "loose": "ia3", ".hidden": "ia3"}.items():
        attached = build_method(MethodSpec(name=method)).attach(base.model)
        record = {"method": {"name": method}}
        save_adapter(tmp_path / name, attached, base, "tiny", "", record)
        attached.detach()
    whole = tmp_path / "whole" / "model"
    base.model.save_pretrained(whole)
    write_record(whole, base, "tiny", {"method": {"name": "full"}})
    for run in ("chats", "whole"):
        (tmp_path / run / "recipe.yaml").write_text("name: x\n")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_everything_stored_is_listed_by_path(runs: Path) -> None:
    found = [(e.stored.folder.relative_to(runs).as_posix(), e.label, e.base) for e in entries(runs)]
    assert found == [
        ("chats/adapter", "LoRA r8", "tiny"),
        ("loose", "IA3", "tiny"),
        ("whole/model", "full", "tiny"),
    ]
    sizes = {e.label: e.size for e in entries(runs)}
    assert sizes["LoRA r8"] == (runs / "chats" / "adapter" / WEIGHTS).stat().st_size
    assert sizes["full"] == (runs / "whole" / "model" / "model.safetensors").stat().st_size


LABELS: dict[str, tuple[str, dict[str, Any]]] = {
    "PiSSA r4": ("lora", {"rank": 4, "init": "pissa"}),
    "LoRA+ r4": ("lora", {"rank": 4, "plus_ratio": 16.0}),
    "pfeiffer /8": ("bottleneck", {"reduction": 8.0}),
    "last 1 layers": ("selective", {"train": "layers", "layers": {"last": 1}}),
}


@pytest.mark.parametrize("label", LABELS)
def test_the_method_is_named_as_it_was_asked_for(base: Base, tmp_path: Path, label: str) -> None:
    name, options = LABELS[label]
    method = build_method(MethodSpec(name=name, **options))
    attached = method.attach(base.model)
    record = {"method": {"name": name, **method.options()}}
    save_adapter(tmp_path / "one", attached, base, "tiny", "", record)
    attached.detach()
    assert [e.label for e in entries(tmp_path)] == [label] == [method.label()]
    assert inspect(locate(str(tmp_path / "one"))).label == label


@pytest.mark.parametrize("record", [{"name": "ia3"}, {"name": "lora", "rank": 0}, {"name": "x"}])
def test_a_record_of_no_such_method_does_not_name_it(
    base: Base, tmp_path: Path, record: dict[str, Any]
) -> None:
    attached = build_method(MethodSpec(name="lora", rank=4)).attach(base.model)
    save_adapter(tmp_path / "one", attached, base, "tiny", "", {"method": record})
    attached.detach()
    assert [e.label for e in entries(tmp_path)] == ["LoRA r4"]


def test_damage_is_one_line_of_the_list(runs: Path) -> None:
    (runs / "loose" / CONFIG).write_text("{")
    (runs / "chats" / "adapter" / WEIGHTS).unlink()
    (runs / "whole" / "model" / OURS).write_text("[]")
    problems = {e.stored.folder.name: e.problem for e in entries(runs)}
    assert "not valid JSON" in (problems["loose"] or "")
    assert f"it has no {WEIGHTS}" in (problems["adapter"] or "")
    assert "a JSON object was expected" in (problems["model"] or "")


@pytest.mark.parametrize("record", ['{"merged": null}', '{"merged": "x"}', '{"method": "x"}'])
def test_a_spoilt_record_is_one_line_of_the_list(runs: Path, record: str) -> None:
    (runs / "whole" / "model" / OURS).write_text(record)
    problems = [e.problem for e in entries(runs)]
    assert problems[:2] == [None, None]
    assert f"{OURS}: " in (problems[2] or "")
    with pytest.raises(InputError, match="must hold the "):
        inspect(locate(str(runs / "whole")))


def test_weights_that_lead_nowhere_are_one_line_of_the_list(runs: Path) -> None:
    weights = runs / "loose" / WEIGHTS
    weights.unlink()
    weights.symlink_to("nowhere")
    problems = {e.stored.folder.name: e.problem for e in entries(runs)}
    assert f"it has no {WEIGHTS}" in (problems["loose"] or "")


def test_a_run_and_its_folder_are_the_same_place(runs: Path) -> None:
    assert locate(str(runs / "chats")) == locate(str(runs / "chats" / "adapter"))
    assert locate(str(runs / "chats")).run() == runs / "chats"
    assert locate(str(runs / "loose")).run() is None
    assert locate(str(runs / "whole")).kind == "model"
    assert locate_adapter(str(runs / "chats")) == runs / "chats" / "adapter"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("chat", r"no such folder\. Did you mean .*chats\?"),
        ("empty", "neither a run nor an adapter"),
        ("whole", "is an ordinary model, not an adapter"),
        ("begun", "has stored nothing yet; continue it with: brulee resume"),
    ],
)
def test_what_is_no_adapter_says_what_it_is(runs: Path, name: str, said: str) -> None:
    (runs / "begun").mkdir()
    (runs / "begun" / "recipe.yaml").write_text("name: x\n")
    with pytest.raises(InputError, match=said):
        locate_adapter(str(runs / name))


def test_a_list_of_nowhere(runs: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        entries(runs / "nowhere")
    assert entries(runs / "empty") == []
    for look in (lambda file: entries(file), lambda file: locate(str(file))):
        with pytest.raises(InputError, match=r"recipe\.yaml: a file; give the folder of a run"):
            look(runs / "chats" / "recipe.yaml")


def test_an_adapter_is_measured_tensor_by_tensor(runs: Path, base: Base) -> None:
    found = inspect(locate(str(runs / "loose")))
    assert (found.label, found.peft, found.sealed) == ("IA3", "IA3", True)
    assert found.base["digest"] == base.digest
    assert found.method == {"name": "ia3"}
    # Scales begin at one, so that the norm is the root of their number.
    for tensor in found.tensors:
        assert tensor.norm == pytest.approx(max(tensor.shape) ** 0.5)
        assert tensor.largest == 1.0
    assert found.values == sum(max(tensor.shape) for tensor in found.tensors)


def test_without_our_record_it_says_what_the_configuration_does(runs: Path) -> None:
    (runs / "loose" / OURS).unlink()
    found = inspect(locate(str(runs / "loose")))
    assert (found.sealed, found.base) == (False, {"source": "tiny"})
    assert found.method["name"] == "ia3"
    assert found.method["feedforward"] == ["down_proj"]


def test_a_method_that_peft_lacks_is_not_said_to_load_there(base: Base, tmp_path: Path) -> None:
    attached = build_method(MethodSpec(name="selective")).attach(base.model)
    save_adapter(tmp_path / "norms", attached, base, "tiny", "", {})
    attached.detach()
    assert inspect(locate(str(tmp_path / "norms"))).peft is None


def test_a_model_tuned_whole_is_measured_too(runs: Path, base: Base) -> None:
    found = inspect(locate(str(runs / "whole")))
    assert (found.label, found.stored.kind) == ("full", "model")
    norms = {t.name: t.norm for t in found.tensors}
    weight = base.model.get_parameter("model.norm.weight")
    assert norms["model.norm.weight"] == pytest.approx(weight.norm().item())
