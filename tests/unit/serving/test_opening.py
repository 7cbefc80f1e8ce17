"""What a server is started with answers as `brulee generate` does for the same target."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from brulee.errors import InputError
from brulee.inference.session import open_session
from brulee.serving import opening
from brulee.serving.opening import open_served

TEXT = "The customer asked"


def test_a_model_tuned_whole_is_framed_as_its_training_was(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "whole"
    shutil.copytree(tiny_model_folder, run / "model")
    (run / "recipe.yaml").write_text("model: x\n")
    (run / "model" / "brulee.json").write_text(json.dumps({"system": "Answer in one word."}))
    opened = open_served(str(run), {})
    assert opened.base == "whole"
    assert opened.adapters == {}
    expected = open_session(run).complete([TEXT], max_new_tokens=8)
    assert opened.held.complete([TEXT], [None], max_new_tokens=8) == expected
    plain = open_session(tiny_model_folder).complete([TEXT], max_new_tokens=8)
    assert expected != plain


def test_a_run_is_its_base_and_its_adapter(
    tiny_model_folder: Path, adapters: Path, tmp_path: Path
) -> None:
    run = tmp_path / "notes"
    shutil.copytree(adapters / "lora", run / "adapter")
    (run / "recipe.yaml").write_text("model: x\n")
    base = str(tiny_model_folder)
    opened = open_served(str(run), {"more": str(adapters / "ia3")}, base=base)
    assert opened.base == tiny_model_folder.name
    assert opened.adapters == {"notes": run / "adapter", "more": adapters / "ia3"}
    with pytest.raises(InputError, match="is served as 'notes' already"):
        open_served(str(run), {"notes": str(adapters / "ia3")}, base=base)


def test_adapters_of_a_base_held_otherwise_are_refused(
    tiny_model_folder: Path, adapters: Path, tmp_path: Path
) -> None:
    shutil.copytree(adapters / "lora", tmp_path / "bits")
    record = tmp_path / "bits" / "brulee.json"
    ours = json.loads(record.read_text())
    ours["base"]["quantised"] = "nf4"
    record.write_text(json.dumps(ours))
    named = {"whole": str(adapters / "lora"), "bits": str(tmp_path / "bits")}
    with pytest.raises(InputError, match="'whole' on one in full and 'bits' on one in nf4"):
        open_served(str(tiny_model_folder), named)


@pytest.mark.parametrize("precision", ["auto", "bfloat16"])
def test_a_run_in_float32_is_served_in_it_unless_another_is_asked_for(
    tiny_model_folder: Path,
    adapters: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
) -> None:
    for name, computed in (("wide", "float32"), ("narrow", "bfloat16")):
        shutil.copytree(adapters / "lora", tmp_path / name / "adapter")
        (tmp_path / name / "manifest.json").write_text(json.dumps({"precision": computed}))
    asked: list[str] = []
    monkeypatch.setattr(opening, "pick_dtype", lambda p, _: asked.append(p) or torch.float32)
    runs = {name: str(tmp_path / name) for name in ("narrow", "wide")}
    opened = open_served(str(tiny_model_folder), runs, precision=precision)
    assert [*opened.adapters] == ["narrow", "wide"]
    assert asked == ["float32" if precision == "auto" else "bfloat16"]
