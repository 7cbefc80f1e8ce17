"""What is said and drawn of a sweep."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from brulee.errors import InputError
from brulee.reporting import sweep_charts, sweep_page, sweep_results, sweep_text
from brulee.reporting.results import Comparison
from brulee.reporting.sweep_results import BeforeAfter, Sweep, Trial


def trial(number: int, *values: float, **changes: Any) -> Trial:
    kept: dict[str, Any] = {
        "number": number,
        "run": f"trial-{number:03d}",
        "own": number == 0,
        "state": "complete",
        "settings": {"train.learning_rate": 1e-3 * (number + 1)},
        "method": "lora",
        "learning_rate": 1e-3 * (number + 1),
        "values": values,
        "value": sum(values) / len(values) if values else None,
        "curve": ((5, 3.0), (10, values[0])) if values else (),
    }
    return Trial(**{**kept, **changes})


def sweep(*trials: Trial, **changes: Any) -> Sweep:
    kept: dict[str, Any] = {
        "name": "chats-sweep",
        "base": "bundled",
        "objective": "validation_loss",
        "higher_is_better": False,
        "axes": ("train.learning_rate=0.001..0.1:log",),
        "sampler": "tpe",
        "planned": len(trials),
        "seeds": max(len(t.values) for t in trials),
        "validation_rows": 5,
        "trials": trials,
    }
    return Sweep(**{**kept, **changes})


def pair(own: float, chosen: float) -> Comparison:
    return Comparison(
        task="chats/test", metric="rouge1", base=own, tuned=chosen, difference=chosen - own,
        low=-0.01, high=0.09, p=0.2, wins=3, losses=2, ties=1, minimum_detectable=0.1,
        higher_is_better=True, trained=True,
    )  # fmt: skip


def text_of(found: Sweep, width: int = 80) -> str:
    out = io.StringIO()
    sweep_text.show(found, Console(file=out, width=width, color_system=None), Path("x.html"))
    return out.getvalue()


def test_the_lead_is_the_mean_over_pairs_of_one_seed() -> None:
    found = sweep(trial(0, 1.0, 1.2, 1.4), trial(1, 1.1, 1.32, 1.48))
    lead = found.lead
    assert lead is not None
    assert lead.by == pytest.approx(0.1)
    # By hand: gaps 0.1, 0.12, 0.08; s = 0.02; t(0.975, 2) = 4.3027.
    assert lead.low == pytest.approx(0.1 - 4.3027 * 0.02 / 3**0.5, abs=1e-5)
    assert lead.clear is True, "seeds move both alike"


def test_a_lead_within_what_seeds_do_is_said_to_be_none() -> None:
    found = sweep(trial(0, 1.0, 1.2), trial(1, 1.15, 1.1))
    assert found.lead is not None
    assert found.lead.clear is False
    said = " ".join(sweep_text.verdict(found))
    assert "it cannot be told from the runner-up, trial-001" in said


def test_with_one_seed_nothing_is_known_of_seeds() -> None:
    said = " ".join(sweep_text.verdict(sweep(trial(0, 1.0), trial(1, 1.1))))
    assert "one seed cannot tell" in said
    assert "(--seeds 3)" in said


def test_of_a_score_more_is_better() -> None:
    found = sweep(
        trial(0, 0.3, 0.31), trial(1, 0.5, 0.49), objective="rougeL", higher_is_better=True
    )
    assert found.best is not None
    assert found.best.number == 1
    assert found.lead is not None
    assert found.lead.by > 0
    said = " ".join(sweep_text.verdict(found))
    assert "best validation ROUGE-L of 2 settings: 0.4950, against 0.3050" in said
    assert "expect a lower one on others" in said


def test_equal_values_choose_the_first() -> None:
    found = sweep(trial(0, 1.0), trial(1, 1.0))
    assert found.best is not None
    assert found.best.number == 0


def test_the_verdict_tells_how_many_were_compared_and_that_the_best_is_optimistic() -> None:
    lost = trial(2, state="pruned", reason="at step 5 ...")
    found = sweep(trial(0, 1.1), trial(1, 1.0), lost, trial(3, state="failed", reason="nan."),
                  planned=6, tested_before=(0,))  # fmt: skip
    said = sweep_text.verdict(found)
    assert said[0] == (
        "Learning rate 0.002 (trial-001) has the best validation loss of 3 settings: 1.0000, "
        "against 1.1000 of the recipe's own"
    )
    for part in (
        "optimistic, being the best of 3 on the 5 validation rows, which are few,",
        "1 of 4 ended early",
        "1 of 4 failed",
        "2 of 6 were not started; run the same command again to continue",
        "the test rows were asked before, for trial-000",
    ):
        assert any(part in clause for clause in said), part


def test_nothing_finished_is_said() -> None:
    found = sweep(trial(0, state="failed", reason="nan."), seeds=1)
    assert sweep_text.verdict(found)[0] == "0 of 1 settings finished training"
    assert "trial-000 failed: nan." in text_of(found)
    assert "0 of 1 settings finished" in sweep_page.render(found)


def test_the_terminal_shows_the_test_of_both() -> None:
    before = BeforeAfter(run="trial-001", comparisons=(pair(0.2, 0.34),))
    found = sweep(trial(0, 1.1), trial(1, 1.0), test=(pair(0.3, 0.34),), tested=(before,))
    text = text_of(found, 120)
    (line,) = [line for line in text.splitlines() if line.startswith("ROUGE-1")]
    assert line.split()[1:4] == ["0.20", "0.30", "0.34"]
    assert text.index("trial-001  ") < text.index("trial-000  "), "the best first"


@pytest.mark.parametrize("width", [350, 800])
def test_the_charts_stay_inside_and_show_what_is_far_off_at_the_edge(width: int) -> None:
    far = trial(5, 90.0, curve=((5, 80.0), (10, 90.0)))
    found = sweep(*(trial(i, 1.0 + i / 10) for i in range(5)), far)
    along = sweep_charts.along(found, "learning rate", lambda t: t.learning_rate, True, width)
    curves = sweep_charts.curves(found, width)
    for svg in (along, curves):
        root = ET.fromstring(svg)
        tall = float(root.get("height", 0))
        for element in root.iter():
            for name in ("x", "x1", "x2", "cx"):
                assert 0 <= float(element.get(name, 0)) <= width
            for name in ("y", "y1", "y2", "cy"):
                assert 0 <= float(element.get(name, 0)) <= tall
        for line in root.iter("polyline"):
            ys = [float(point.split(",")[1]) for point in line.get("points", "").split()]
            assert all(0 <= y <= tall for y in ys)
        assert len([g for g in root.iter("g") if "trial" in g.get("class", "")]) == 6
    assert along.count("↑") == 1
    heights = {c.get("cy") for c in ET.fromstring(along).iter("circle")}
    assert len(heights) == 6, "what is far off pressed the others together"


def test_a_score_that_is_not_far_off_is_drawn_where_it_is() -> None:
    found = sweep(trial(0, 3.1357), trial(1, 3.1534), trial(2, 3.2078))
    svg = sweep_charts.along(found, "learning rate", lambda t: t.learning_rate, True, 800)
    assert "↑" not in svg


def test_a_recipe_cannot_write_into_the_page() -> None:
    hostile = "</script><script>alert(1)</script>"
    found = sweep(trial(0, 1.0), trial(1, 1.1, settings={"method.target": hostile}, reason=None),
                  axes=(f"method.target={hostile},a",), command=hostile)  # fmt: skip
    page = sweep_page.render(found)
    assert "<script" not in page
    assert "default-src 'none'" in page


def test_a_page_without_numbers_on_its_axes_has_no_chart_of_them() -> None:
    both = [trial(i, 1.0 + i, learning_rate=1e-3, settings={"method.dora": bool(i)}, curve=())
            for i in range(2)]  # fmt: skip
    page = sweep_page.render(sweep(*both, axes=("method.dora=true,false",)))
    assert "<svg" not in page
    assert "dora" in page


def test_a_sweep_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = sweep(trial(0, 1.0), trial(1, 1.1))
    sweep_results.write(found, tmp_path)
    assert sweep_results.read(tmp_path) == found
    with pytest.raises(InputError, match="no sweep is here"):
        sweep_results.read(tmp_path / "none")
    (tmp_path / "sweep.json").write_text('{"name": 3}')
    with pytest.raises(InputError, match=r"sweep\.json: name = 3: Input should be a valid string"):
        sweep_results.read(tmp_path)


def test_a_recipe_beside_the_axes_is_shown_with_what_it_has() -> None:
    """Dashes stood there, as of a method that lacks the option."""
    own = trial(0, 1.3, settings={}, had={"method.rank": 8, "train.learning_rate": 5e-4})
    other = trial(1, 1.1, settings={"method.rank": 16, "train.learning_rate": 2e-3})
    found = sweep(own, other, axes=("method.rank=4,16", "train.learning_rate=1e-3..1e-2:log"))
    (line,) = [line for line in text_of(found).splitlines() if "trial-000  " in line]
    assert line.split()[1:4] == ["1.3000", "8", "0.0005"]
    assert "<td>8</td>" in sweep_page.render(found).replace(' class="n"', "")


def test_an_axis_that_one_method_lacks_is_drawn_for_the_others() -> None:
    """Nothing was drawn by rank where a recipe lay beside the axes, or a method had no rank."""
    own = trial(0, 1.3, settings={}, had={"method.rank": 8})
    others = [trial(n, 1.0 + n, settings={"method.rank": 4 * n}) for n in (1, 4)]
    without = trial(5, 2.0, settings={}, method="ia3", own=False)
    page = sweep_page.render(sweep(own, *others, without, axes=("method.rank=4,16",)))
    assert "<h3>By rank</h3>" in page
    drawn = page.partition("<h3>By rank</h3>")[2].partition("</section>")[0]
    assert "of 3 settings against rank. Best: 1.3000 at 8." in drawn
    assert "trial-005" not in drawn


def test_the_reports_of_what_was_tested_are_linked() -> None:
    run = BeforeAfter(run="trial-001", comparisons=(pair(0.3, 0.4),))
    page = sweep_page.render(sweep(trial(0, 1.0), trial(1, 0.9), tested=(run,)))
    assert '<a href="trial-001/report.html">trial-001</a>' in page
