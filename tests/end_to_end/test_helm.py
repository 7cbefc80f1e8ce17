"""HELM through the command line: all 16 scenarios on a tiny model, the table of two models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

Call = Any
DATA = Path(__file__).parents[1] / "fixtures" / "helm"
QUICK = ["--set", "subjects=abstract_algebra,us_foreign_policy"]
SHORT = "mmlu,boolq,hellaswag,msmarco-regular,xsum"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRULEE_CACHE", str(tmp_path / "cache"))


def run(brulee: Call, model: Path, out: Path, *more: str) -> Any:
    called = brulee(
        "eval", model, "--suite", "helm", "--data", DATA, "--limit", "2", "--out", out, "--quiet",
        "--precision", "float32", *QUICK, *more,
    )  # fmt: skip
    assert called.code == 0, called.err
    return json.loads((out / "results.json").read_text())


def test_a_second_evaluation_asks_nothing_and_the_table_shows_both(
    brulee: Call, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brulee.inference.engine import Engine

    def refuse(*arguments: Any) -> None:
        raise AssertionError("the model was asked again")

    scenarios = ["--set", f"scenarios={SHORT}"]
    first = run(brulee, tiny_model_folder, tmp_path / "one", *scenarios)
    monkeypatch.setattr(Engine, "generate", refuse)
    monkeypatch.setattr(Engine, "loglikelihood", refuse)
    second = run(brulee, tiny_model_folder, tmp_path / "two", *scenarios)
    assert first["scores"] == second["scores"]
    assert first["suite"]["efficiency"] == second["suite"]["efficiency"]
    held = {(s["task"], s["metric"]): s for s in first["scores"]}
    for task, metric in [
        ("helm/boolq", "quasi_exact_match"),
        ("helm/boolq", "ece_10_bin"),
        ("helm/boolq", "fairness"),
        ("helm/mmlu", "exact_match_partial"),
        ("helm/hellaswag", "robustness"),
        ("helm/msmarco-regular", "rr@10"),
        ("helm/xsum", "toxic_share_lexicon"),
    ]:
        score = held[task, metric]
        assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
    assert held["helm/boolq", "quasi_exact_match"]["n"] == 2
    page = tmp_path / "helm.html"
    called = brulee("helm", tmp_path / "one", tmp_path / "two", "--html", page)
    assert called.code == 0
    assert "Mean win rate" in called.out
    assert "msmarco-regular" in page.read_text()
    wins = brulee("helm", tmp_path / "one", tmp_path / "two", "--json").json["mean_win_rate"]
    assert set(wins["one"].values()) == {0.5}


@pytest.mark.slow
def test_all_scenarios_run(brulee: Call, tiny_model_folder: Path, tmp_path: Path) -> None:
    found = run(brulee, tiny_model_folder, tmp_path / "all", "--set", "perturb=mild-mix")
    scenarios = {s["task"].split("/")[1] for s in found["scores"]}
    assert len(scenarios) == 16


def test_a_folder_without_helms_results_is_named(brulee: Call, tmp_path: Path) -> None:
    called = brulee("helm", tmp_path)
    assert called.code == 2
    assert "no such file" in called.err
