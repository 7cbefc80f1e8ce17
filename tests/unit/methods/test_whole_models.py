"""Damage in a model that was tuned whole is seen wherever it is read, as an adapter's is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from brulee.errors import InputError
from brulee.inference.session import open_session
from brulee.methods import build_method
from brulee.methods.adapter_files import OURS
from brulee.methods.exporting import export
from brulee.methods.merging import merge
from brulee.methods.pushing import push
from brulee.methods.reading import inspect
from brulee.methods.shelf import entries, locate
from brulee.methods.storing import save_adapter
from brulee.methods.whole import write_model_record
from brulee.models.loading import Base, load_base
from brulee.recipe import MethodSpec

READERS: dict[str, Callable[[Path], object]] = {
    "inspect": lambda folder: inspect(locate(str(folder))),
    "export": lambda folder: export(locate(str(folder)), folder.with_name("m.gguf")),
    "open": lambda folder: open_session(str(folder), "cpu", "float32"),
    "push": lambda folder: push(locate(str(folder)), "someone/chats"),
}
_WEIGHTS, _NORM = "model.safetensors", "model.norm.weight"


@pytest.fixture
def folder(make_base: Callable[..., Base], tmp_path: Path) -> Path:
    base, folder = make_base("llama"), tmp_path / "model"
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    write_model_record(folder, base, "tiny", {"method": {"name": "full"}})
    return folder


def _change(folder: Path, value: float) -> None:
    tensors = load_file(folder / _WEIGHTS)
    tensors[_NORM][0] = value
    save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})


def _forget_digest(folder: Path) -> None:
    record = json.loads((folder / OURS).read_text())
    del record["weights_digest"]
    (folder / OURS).write_text(json.dumps(record))


@pytest.mark.parametrize("way", READERS)
def test_any_changed_value_is_refused(folder: Path, way: str) -> None:
    _change(folder, 1.5)
    with pytest.raises(InputError, match=r"model: its weights are not those that were saved"):
        READERS[way](folder)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("way", READERS)
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_without_a_digest_what_is_not_finite_is(folder: Path, way: str, value: float) -> None:
    _forget_digest(folder)
    _change(folder, value)
    with pytest.raises(InputError, match=rf"tensor '{_NORM}' holds NaN or infinite values"):
        READERS[way](folder)


@pytest.mark.parametrize("way", READERS)
def test_a_model_without_weights_is_none(folder: Path, way: str) -> None:
    (folder / _WEIGHTS).unlink()
    with pytest.raises(InputError, match=r"no \*\.safetensors file with weights"):
        READERS[way](folder)
    assert [e.problem for e in entries(folder)] == [
        f"{folder}: it has no *.safetensors file with weights."
    ]


def test_what_is_whole_is_read(folder: Path) -> None:
    assert inspect(locate(str(folder))).sealed
    assert open_session(str(folder), "cpu", "float32").record["method"] == {"name": "full"}
    _forget_digest(folder)
    assert not inspect(locate(str(folder))).sealed
    assert open_session(str(folder), "cpu", "float32").attached is None


def test_a_merged_model_is_sealed_too(tiny_model_folder: Path, tmp_path: Path) -> None:
    base = load_base(str(tiny_model_folder), torch.float32, torch.device("cpu"))
    attached = build_method(MethodSpec(name="lora")).attach(base.model)
    save_adapter(tmp_path / "adapter", attached, base, str(tiny_model_folder), "", {})
    merge(tmp_path / "adapter", tmp_path / "merged")
    assert inspect(locate(str(tmp_path / "merged"))).sealed
    _change(tmp_path / "merged", 1.5)
    with pytest.raises(InputError, match="digest differs"):
        inspect(locate(str(tmp_path / "merged")))
