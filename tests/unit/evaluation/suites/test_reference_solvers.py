"""Right answers get the best of every score, and constant ones do not: every suite, every task."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from brulee.evaluation.suites import SUITES
from brulee.evaluation.suites.helm.scenarios import SCENARIOS

BENCHMARKS = Path(__file__).parents[4] / "benchmarks"
# A small fixture whose items all have the same answer, or whose passages stand in the right order.
ALIKE = {
    "bigbench/sums/chosen", "helm/msmarco-regular", "helm/msmarco-trec",
    "helm/civil-comments/female",
}  # fmt: skip


@pytest.fixture(scope="module")
def benchmark() -> Any:
    """benchmarks/solvers.py."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("solvers")
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def rows(benchmark: Any) -> dict[str, Any]:
    return {row.task: row for row in benchmark.solved(None)}


def test_every_suite_and_scenario_is_there(rows: dict[str, Any]) -> None:
    names = {name.split("/")[0] for name in rows}
    assert set(SUITES) - {"bundled"} <= names
    assert "plain-prose" in names
    assert {name.split("/")[1] for name in rows if name.startswith("helm/")} == set(SCENARIOS)
    assert "toy_prose" in names


def test_right_answers_get_the_best_of_every_score(rows: dict[str, Any], benchmark: Any) -> None:
    short = {name: row.gold for name, row in rows.items() if not benchmark.perfect(row)}
    # Whole grades cannot say 4.6; the filters of the other leave "in water" to no one.
    assert set(short) == {"glue/stsb", "toy_named"}
    assert short["glue/stsb"]["pearson"] > 0.98
    assert set(short["toy_named"].values()) == {0.75}


def test_constant_answers_do_not(rows: dict[str, Any]) -> None:
    best = {
        name
        for name, row in rows.items()
        if row.constant and row.constant[next(iter(row.best))] == next(iter(row.best.values()))
    }
    assert best == ALIKE


def test_constant_answers_correlate_with_nothing_and_treat_pairs_alike(
    rows: dict[str, Any],
) -> None:
    for name in ("glue/cola", "glue/ax", "glue/cola, text-to-text", "superglue/axb"):
        assert rows[name].constant["matthews"] == 0.0
    assert rows["glue/stsb"].constant == {"pearson": 0.0, "spearman": 0.0}
    assert rows["superglue/axg"].constant == {"accuracy": 0.5, "gender_parity": 1.0}


def test_a_majority_is_counted_in_the_raw_file(fixtures: Path, benchmark: Any) -> None:
    assert benchmark.majority("superglue/boolq", fixtures / "superglue") == pytest.approx(2 / 3)
    assert benchmark.majority("glue/cola", fixtures / "glue") is None
