"""An adapter on a revision of a model on the Hub finds that revision again. No network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.errors import InputError
from brulee.inference.session import open_session
from brulee.methods import build_method
from brulee.methods.adapter_files import CONFIG, OURS
from brulee.methods.checkpoint import open_adapter
from brulee.methods.exporting import export
from brulee.methods.merging import merge
from brulee.methods.neighbours import study
from brulee.methods.shelf import locate
from brulee.methods.storing import save_adapter
from brulee.models.loading import Base, load_base
from brulee.pipeline.plan import plan
from brulee.recipe import MethodSpec, recipe_from_dict

NAME = "acme/tiny"


@pytest.fixture(autouse=True)
def hub(
    make_base: Callable[..., Base], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Path]:
    """The Hub's cache with two revisions of one model, which differ in weights and sizes."""
    cache = tmp_path / "hub"
    folder = cache / f"models--{NAME.replace('/', '--')}"
    found = {}
    for seed, (ref, width) in enumerate({"v1": 48, "main": 64}.items()):
        base, snapshot = make_base("llama", seed, intermediate_size=width), str(seed) * 40
        found[ref] = folder / "snapshots" / snapshot
        base.model.save_pretrained(found[ref])
        base.tokenizer.save_pretrained(found[ref])
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / ref).write_text(snapshot)
    (folder / "blobs").mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return found


def _adapter(folder: Path, name: str = "lora", revision: str | None = "v1") -> Path:
    base = load_base(NAME, torch.float32, torch.device("cpu"), revision)
    attached = build_method(MethodSpec(name=name)).attach(base.model)
    save_adapter(folder, attached, base, NAME, "", {})
    return folder


def _read(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text())
    return values


def test_it_is_written_where_peft_looks_for_it_and_in_the_record(tmp_path: Path) -> None:
    folder = _adapter(tmp_path / "adapter")
    assert _read(folder / CONFIG)["revision"] == "v1"
    assert _read(folder / OURS)["base"]["revision"] == "v1"
    newest = _adapter(tmp_path / "newest", revision=None)
    assert "revision" not in _read(newest / CONFIG)
    assert "revision" not in _read(newest / OURS)["base"]


def test_it_answers_over_that_revision(tmp_path: Path) -> None:
    folder = _adapter(tmp_path / "adapter")
    session = open_session(str(folder), "cpu", "float32")
    assert session.base.revision == "v1"
    (folder / OURS).unlink()
    assert open_session(str(folder), "cpu", "float32").base.revision == "v1"


class _Here(nullcontext[Any]):
    """Tries methods in this process: another one would import for seconds first."""

    def __init__(self, _: tuple[str, ...], prepare: Callable[..., Any], *arguments: Any) -> None:
        super().__init__(self)
        self.prepared = prepare(*arguments)

    def run(self, trial: Callable[..., Any], *arguments: Any) -> Any:
        return trial(self.prepared, *arguments)


def test_a_plan_is_of_that_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brulee.pipeline.plan.Apart", _Here)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"q": "ask {i}", "a": "yes {i}"}}\n' for i in range(12)))
    phrased = {"prompt": "{{q}}", "completion": "{{a}}"}
    data = {"source": str(rows), "templates": phrased, "split": {"test": 0}}
    values = {
        "model": {"name": NAME, "revision": "v1"},
        "data": data,
        "method": {"name": "full"},
        "train": {"device": "cpu", "precision": "float32", "epochs": 1.0},
    }
    (line,) = plan(recipe_from_dict(values), ()).lines
    base = load_base(NAME, torch.float32, torch.device("cpu"), "v1")
    assert line.trainable == sum(p.numel() for p in base.model.parameters())
    assert line.memory is not None
    assert line.memory.gradients == 4 * line.trainable


def test_it_is_merged_into_that_revision(tmp_path: Path, hub: dict[str, Path]) -> None:
    merge(_adapter(tmp_path / "adapter"), tmp_path / "merged")
    merged = load_base(str(tmp_path / "merged"), torch.float32, torch.device("cpu"))
    assert merged.model.config.intermediate_size == 48
    assert _read(tmp_path / "merged" / OURS)["base"]["revision"] == "v1"


@pytest.mark.parametrize("to", ["gguf", "gguf-lora"])
def test_it_is_written_as_gguf_over_that_revision(tmp_path: Path, to: str) -> None:
    stored = locate(str(_adapter(tmp_path / "adapter")))
    assert export(stored, tmp_path / "m.gguf", to).size > 0


def test_its_tokens_lie_beside_that_revisions_vocabulary(tmp_path: Path) -> None:
    assert study(str(_adapter(tmp_path / "adapter", "prompt"))).base == NAME


def test_a_base_given_in_its_place_has_no_revision_of_the_name(
    tmp_path: Path, hub: dict[str, Path]
) -> None:
    folder = _adapter(tmp_path / "adapter")
    copy = shutil.copytree(hub["v1"], tmp_path / "copy")
    assert open_adapter(folder).named_base(str(copy)) == (str(copy), None)
    assert open_adapter(folder).named_base(NAME) == (NAME, "v1")
    assert open_session(str(folder), "cpu", "float32", str(copy)).base.revision is None
    with pytest.raises(InputError, match="made for the base"):
        merge(folder, tmp_path / "merged", base=str(hub["main"]))
