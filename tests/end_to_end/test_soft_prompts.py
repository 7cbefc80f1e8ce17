"""A run that tunes a soft prompt or a prefix: trained, scored, stored, used and gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from brulee.methods.adapter_files import WEIGHTS
from brulee.reporting import results

RUN = Path("runs/recipe")
each_method = pytest.mark.parametrize("name", ["prompt", "prefix"])


def _stored(folder: Path) -> torch.Tensor:
    tensor: torch.Tensor = load_file(folder / "adapter" / WEIGHTS)["prompt_embeddings"]
    return tensor


# Each method and each family once; the other pairs are slow.
@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("llama", "prompt"),
        ("t5", "prefix"),
        pytest.param("llama", "prefix", marks=pytest.mark.slow),
        pytest.param("t5", "prompt", marks=pytest.mark.slow),
    ],
)
def test_a_run_scores_what_generate_then_says(
    at: Any, brulee: Any, tiny_t5_folder: Path, name: str, family: str
) -> None:
    if family == "t5":
        at.recipe["model"] = str(tiny_t5_folder)
    guarded = at.recipe["evaluate"] | {"guards": ["common-knowledge"], "guard_limit": 3}
    called = brulee(*at.run(method={"name": name, "tokens": 6}, evaluate=guarded))
    assert called.code == 0, called.err
    found = results.read(RUN)
    assert found.cost.trainable_parameters == _stored(RUN).numel()
    lines = (RUN / "eval/tuned/rows-test.jsonl").read_text().splitlines()
    answer = json.loads(lines[0])
    asked = ("--prompt", answer["prompt"], "--max-new-tokens", 4)
    again = brulee("generate", RUN, *asked)
    assert (again.code, again.out) == (0, answer["output"] + "\n")


@each_method
def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(
    at: Any, brulee: Any, name: str
) -> None:
    at.recipe["method"] = {"name": name, "tokens": 4}
    at.recipe["train"]["save_every"] = 2
    assert brulee("train", at.write(), "--folder", "whole").code == 0
    shutil.copytree("whole", "halves")
    first, last = sorted(Path("halves/checkpoints").iterdir())
    _remove(last)
    _remove(Path("halves/adapter"))
    assert brulee("resume", "halves").code == 0
    assert first.is_dir()
    assert torch.equal(_stored(Path("halves")), _stored(Path("whole")))


def _remove(folder: Path) -> None:
    for file in sorted(folder.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    folder.rmdir()


def test_it_starts_from_the_instruction_of_the_task(at: Any, brulee: Any) -> None:
    for folder, text in (("a", None), ("b", "Sum up:"), ("c", "Another text altogether")):
        method = {"name": "prompt", "tokens": 4, **({"init_text": text} if text else {})}
        called = brulee("train", at.write(method=method), "--folder", folder)
        assert called.code == 0, called.err
    assert torch.equal(_stored(Path("a")), _stored(Path("b")))
    assert not torch.equal(_stored(Path("a")), _stored(Path("c")))
