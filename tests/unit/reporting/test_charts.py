import xml.etree.ElementTree as ET

import pytest

from brulee.reporting import charts
from brulee.reporting.results import Results


def events(count: int) -> list[dict[str, object]]:
    made: list[dict[str, object]] = [
        {"event": "step", "step": i, "loss": 3.0 - i / count} for i in range(1, count + 1)
    ]
    return [*made, {"event": "validation", "step": count, "loss": 2.2}]


@pytest.mark.parametrize("width", [350, 800])
def test_charts_are_well_formed_and_named_for_screen_readers(example: Results, width: int) -> None:
    scores = [("ROUGE-1", [s for s in example.scores if s.metric == "rouge1"])]
    for svg in (
        charts.loss_curve(events(50), width),
        charts.score_chart(scores, width),
        charts.guard_chart(example.forgetting, width),
    ):
        root = ET.fromstring(svg)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        for element in root.iter():
            for name in ("x", "x1", "x2", "cx"):
                assert 0 <= float(element.get(name, 0)) <= width


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.013, 0.019), (-3, 1200), (2.1, 2.2)])
def test_ticks_are_round_few_and_inside(low: float, high: float) -> None:
    marks = charts.ticks(low, high)
    assert 2 <= len(marks) <= 7
    assert all(low <= mark <= high for mark in marks)


def test_a_long_run_is_thinned_without_losing_its_end() -> None:
    svg = charts.loss_curve(events(20_000))
    assert len(svg) < 120_000
    assert "step 20000: training loss" in svg


def test_a_loss_that_is_not_finite_is_left_out_of_the_curve() -> None:
    broken = [{"event": "step", "step": 1, "loss": float("nan")}]
    assert charts.loss_curve(broken) == ""
    assert "nan" not in charts.loss_curve([*broken, *events(10)])


def test_a_single_or_constant_loss_still_has_an_axis() -> None:
    assert "<circle" in charts.loss_curve([{"event": "step", "step": 1, "loss": 2.0}])


def test_the_moving_mean_of_a_line_is_the_line_away_from_its_ends() -> None:
    line = [(float(i), 2.0 * i) for i in range(40)]
    assert charts.moving_mean(line, 8)[4:-4] == line[4:-4]


def test_a_loss_of_a_guard_is_drawn_left_of_zero(example: Results) -> None:
    root = ET.fromstring(charts.guard_chart(example.forgetting))
    zero = next(float(e.get("x1", 0)) for e in root.iter("line") if e.get("class") == "zero")
    forgot = next(e for e in root.iter("g") if e.get("class") == "dot forgot")
    circle = next(forgot.iter("circle"))
    assert float(circle.get("cx", 0)) < zero
