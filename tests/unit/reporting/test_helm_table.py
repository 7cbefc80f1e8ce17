"""HELM's table: which score stands where, several models, terminal, JSON, page."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from brulee.errors import InputError
from brulee.reporting import helm_views
from brulee.reporting.helm_table import columns_of, helm_table
from brulee.reporting.results import Base, Method, Results, Score, SuiteUse

SPEED = {
    "prefill_tokens_per_second": 1234.0,
    "decode_tokens_per_second": 56.0,
    "prefill_seconds": 1.5,
    "decode_seconds": 2.0,
    "peak_memory_bytes": float(2**30),
}


def results(run: str, scores: dict[tuple[str, str], float], speed: Any = None) -> Results:
    return Results(
        run=run,
        base=Base(name="m", digest="0"),
        method=Method(name="none"),
        scores=tuple(
            Score(who="base", task=task, metric=metric, value=v, low=v - 0.1, high=v + 0.1, n=9)
            for (task, metric), v in scores.items()
        ),
        suite=SuiteUse(name="helm", efficiency=speed or {}),
    )


SMALL = results(
    "small",
    {
        ("helm/boolq", "quasi_exact_match"): 0.6,
        ("helm/boolq", "exact_match"): 0.1,
        ("helm/boolq", "robustness"): 0.5,
        ("helm/boolq", "ece_10_bin"): 0.2,
        ("helm/mmlu/virology", "exact_match"): 0.3,
        ("helm/mmlu", "exact_match_partial"): 0.3,
        ("mmlu/virology", "accuracy"): 0.9,
    },
    SPEED,
)
LARGE = results(
    "large",
    {
        ("helm/boolq", "quasi_exact_match"): 0.7,
        ("helm/boolq", "robustness"): 0.5,
        ("helm/boolq", "ece_10_bin"): 0.1,
        ("helm/xsum", "rouge2"): 0.12,
    },
)


def test_a_score_of_one_item_claims_no_interval() -> None:
    one = Score(who="base", task="helm/xsum", metric="rouge2", value=0.3, low=0.3, high=0.3, n=1)
    found = helm_table([("a", SMALL.model_copy(update={"scores": (*SMALL.scores, one)}))])
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(*helm_views.terminal(found, 200), sep="\n")
    (line,) = (row for row in console.export_text().splitlines() if row.startswith("xsum"))
    assert "0.300" in line
    assert "±" not in line


def test_the_main_score_stands_for_accuracy_and_parts_for_their_scenario() -> None:
    found = helm_table([("runs/small", SMALL)])
    assert [line.scenario for line in found.lines] == ["mmlu", "boolq"]
    mmlu, boolq = found.lines
    assert boolq.cells["accuracy"].value == 0.6
    assert boolq.cells["robustness"].metric == "robustness"
    assert not boolq.cells["accuracy"].partial
    assert mmlu.cells["accuracy"].partial
    assert columns_of(line.cells for line in found.lines) == [
        "accuracy", "calibration error", "robustness",
    ]  # fmt: skip
    assert found.wins == {}


def test_several_models_are_compared_on_what_both_have() -> None:
    wins = helm_table([("a", SMALL), ("b", LARGE)]).wins
    assert wins["large"] == {"accuracy": 1.0, "calibration error": 1.0, "robustness": 0.5}
    assert wins["small"] == {"accuracy": 0.0, "calibration error": 0.0, "robustness": 0.5}


def test_models_of_one_name_go_by_their_place() -> None:
    assert helm_table([("a/eval", SMALL), ("b/eval", SMALL)]).models == ("a/eval", "b/eval")


def test_a_terminal_shows_scores_wins_and_speed() -> None:
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(*helm_views.terminal(helm_table([("a", SMALL), ("b", LARGE)]), 200), sep="\n")
    text = console.export_text()
    assert "0.600 ±0.100" in text
    assert "0.300 ±0.100*" in text
    assert "* the mean of only some parts of the scenario" in text
    assert "Mean win rate" in text
    assert "1,234" in text
    assert "1.00 GiB" in text


def test_a_narrow_terminal_gets_the_columns_below_each_other_and_whole() -> None:
    def shown(width: int) -> str:
        console = Console(record=True, width=width, file=io.StringIO())
        console.print(
            *helm_views.terminal(helm_table([("a", SMALL), ("b", LARGE)]), width), sep="\n"
        )
        return console.export_text()

    wide, narrow = shown(200), shown(56)
    assert max(map(len, narrow.splitlines())) <= 56
    assert "…" not in narrow
    for cell in ("0.600 ±0.100", "0.300 ±0.100*", "0.120 ±0.100", "0.500 ±0.100", "1,234"):
        assert narrow.count(cell) == wide.count(cell) > 0
    assert (wide.count("scenario "), narrow.count("scenario ")) == (1, 2)


def test_a_page_stands_alone_and_escapes_names(tmp_path: Path) -> None:
    found = helm_table([("a", SMALL), ("b", LARGE.model_copy(update={"run": "<large>"}))])
    file = helm_views.write_page(found, tmp_path / "deep" / "helm.html")
    page = file.read_text(encoding="utf-8")
    assert "&lt;large&gt;" in page
    assert "<large>" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<table>") == 3


def test_json_has_every_cell() -> None:
    found = helm_table([("a", SMALL)]).as_json()
    assert found["cells"][0]["scenario"] == "mmlu"
    assert len(found["cells"]) == 4
    assert found["efficiency"]["small"]["decode_tokens_per_second"] == 56.0


def test_results_without_helm_are_refused() -> None:
    with pytest.raises(InputError, match="other: no score of helm"):
        helm_table([("a", results("other", {("mmlu", "accuracy"): 0.5}))])
