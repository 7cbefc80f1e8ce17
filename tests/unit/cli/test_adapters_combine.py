"""`brulee adapters combine` as it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from brulee.methods import build_method
from brulee.methods.storing import save_adapter
from brulee.models.loading import load_base
from brulee.recipe import MethodSpec


@pytest.fixture
def pair(tiny_model_folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    base = load_base(str(tiny_model_folder), torch.float32, torch.device("cpu"))
    for name, seed in (("a", 0), ("b", 1)):
        attached = build_method(MethodSpec(name="lora", rank=4)).attach(base.model, seed)
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in (p for group in attached.groups() for p in group.parameters):
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.05)
        save_adapter(tmp_path / name, attached, base, str(tiny_model_folder), "", {})
        attached.detach()
    return tmp_path / "a", tmp_path / "b"


def test_it_says_where_how_and_what_was_kept(brulee: Any, pair: Any, tmp_path: Path) -> None:
    out = tmp_path / "both"
    done = brulee("adapters", "combine", *pair, "--weights", "0.7,0.3", "--out", out)
    assert done.code == 0, done.err
    assert str(out) in done.out
    assert "LoRA r8 (sum of 2)" in done.out
    assert "0.0% away from the exact weighted sum" in done.out
    assert "lost" not in done.out
    listed = brulee("adapters", "list", out, "--json").json
    assert [each["method"] for each in listed] == ["LoRA r8 (sum of 2)"]
    shown = brulee("adapters", "inspect", out)
    assert "LoRA r8 (sum of 2)" in shown.out
    assert "loads it, as LORA" in shown.out
    assert "combined 0.7 x a (LoRA r4), 0.3 x b (LoRA r4)" in shown.out


def test_json_has_the_numbers(brulee: Any, pair: Any, tmp_path: Path) -> None:
    how = ("--how", "dare-ties", "--density", "0.5", "--rank", "3", "--seed", "7")
    weights = ("--weights", "-1,0.5")
    done = brulee("adapters", "combine", *pair, "--out", tmp_path / "o", *how, *weights, "--json")
    assert done.code == 0, done.err
    found = done.json
    assert (found["how"], found["density"], found["seed"]) == ("dare-ties", 0.5, 7)
    assert [part["weight"] for part in found["parts"]] == [-1.0, 0.5]
    assert found["parts"][0]["share"] < 0 < found["parts"][1]["share"]
    assert 0 < found["by_rank"] < 1
    text = brulee("adapters", "combine", *pair, "--out", tmp_path / "p", *how).out
    assert "of what dare-ties gave" in text


def test_what_was_combined_is_scored_like_any_other(brulee: Any, pair: Any, tmp_path: Path) -> None:
    brulee("adapters", "combine", *pair, "--out", tmp_path / "both")
    suite = ("--suite", "bundled", "--limit", "1", "--out", tmp_path / "scores")
    done = brulee("eval", tmp_path / "both", *suite, "--quiet")
    assert done.code == 0, done.err
    assert "scores (LoRA r8 (sum of 2))" in brulee("leaderboard", tmp_path / "scores").out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ("--weights", "0.7;0.3"),
            "--weights: '0.7;0.3' is not a list of numbers; separate them by commas",
        ),
        (("--weights", "0.7", "0.3"), "--weights: '0.7 0.3' is not a list of numbers"),
        (("--weights", "1"), "--weights: 1 given for 2 adapters"),
        (("--how", "cat"), "--how: unknown way 'cat'; here it is sum"),
        (("--base", "/nowhere/at/all"), "/nowhere/at/all"),
    ],
    ids=str,
)
def test_what_is_wrong_is_one_sentence(
    brulee: Any, pair: Any, tmp_path: Path, more: tuple[str, ...], said: str
) -> None:
    done = brulee("adapters", "combine", *pair, "--out", tmp_path / "out", *more)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
