"""What is shown of scores over phrasings, on the page, in a terminal, side by side."""

from __future__ import annotations

import json
import runpy
import xml.etree.ElementTree as ET
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from brulee.reporting import phrasings, terminal, wording
from brulee.reporting.html import render
from brulee.reporting.items import Answer, read_items
from brulee.reporting.page_items import examples
from brulee.reporting.phrasing_chart import phrasing_chart
from brulee.reporting.results import Phrasings, Results, Spread, read, write
from brulee.reporting.verdict import with_verdict

_EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "example_run.py"))


@pytest.fixture
def found() -> Phrasings:
    made: Phrasings = _EXAMPLE["phrasings"]()
    return made


@pytest.fixture
def phrased(example: Results, found: Phrasings) -> Results:
    return with_verdict(example.model_copy(update={"phrasings": (found,)}))


def test_quartiles_lie_between_scores() -> None:
    side = Spread(scores=(0.4, 0.1, 0.3, 0.2), deviation=0.1, spread=0.1)
    assert [side.at(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)] == pytest.approx(
        [0.1, 0.175, 0.25, 0.325, 0.4]
    )


def test_the_worst_of_an_error_is_the_largest() -> None:
    side = Spread(scores=(0.4, 0.1, 0.3), deviation=0.15, spread=0.004)
    more = ["0.10", "0.20 to 0.35", "0.30", "0.40", "0.15", "0.004"]
    assert phrasings.cells(side, True) == more
    assert phrasings.cells(side, False) == ["0.40", *more[1:3], "0.10", *more[4:]]


@pytest.mark.parametrize(
    ("high", "p", "p_holm", "said"),
    [
        (-0.031, 0.01, None, "the phrasing of support-chats/test matters less (spread over 12: "),
        (0.01, 0.01, None, "no measurable change in how much the phrasing of support-chats/test"),
        (-0.031, 0.06, None, "no measurable change in how much the phrasing of"),
        (-0.031, 0.04, 0.08, "no measurable change in how much the phrasing of"),
    ],
)
def test_a_change_of_the_spread_counts_where_interval_and_p_agree(
    found: Phrasings, high: float, p: float, p_holm: float | None, said: str
) -> None:
    other = {"high": high, "p": p, "p_holm": p_holm}
    clause = phrasings.clause(found.model_copy(update=other))
    assert clause.startswith(said)
    assert f"0.060 → 0.004, interval of the change -0.083 to {high:+.3f}, p = " in clause
    assert clause.endswith(f", {wording.p_phrase(p_holm or p)})")


def test_a_file_from_before_the_spread_was_tested_is_read_and_claims_no_test(
    phrased: Results, tmp_path: Path
) -> None:
    file = write(phrased, tmp_path)
    kept = json.loads(file.read_text())
    for key in ("p", "p_holm"):
        del kept["phrasings"][0][key]
    file.write_text(json.dumps(kept))
    (one,) = read(tmp_path).phrasings
    assert one.direction == 0
    clause = phrasings.clause(one)
    assert clause.startswith("whether the phrasing of support-chats/test matters less or more was ")
    assert clause.endswith("interval of the change -0.083 to -0.031)")
    assert "p = " not in clause


def test_the_verdict_says_that_a_score_is_a_mean(phrased: Results) -> None:
    assert "on support-chats/test, mean of 12 phrasings, from 0.31 to 0.45" in phrased.verdict
    assert "; the phrasing of support-chats/test matters less (spread" in phrased.verdict


@pytest.mark.parametrize("width", [350, 800])
def test_the_chart_has_a_dot_for_each_phrasing_and_none_hides_another(
    found: Phrasings, width: int
) -> None:
    svg = phrasing_chart(found, width)
    root = ET.fromstring(svg)
    assert "under 12 phrasings: before" in (root.get("aria-label") or "")
    circles = [e for e in root.iter() if e.tag.endswith("circle")]
    at = [(float(c.get("cx", 0)), float(c.get("cy", 0))) for c in circles]
    assert len(at) == 24
    height = float(root.get("height", 0))
    for i, (x, y) in enumerate(at):
        assert 5 <= x <= width - 5
        assert 5 <= y <= height - 26
        assert all(abs(x - a) > 8.9 or abs(y - b) > 8.9 for a, b in at[:i])
    assert svg.count('class="link"') == 12
    assert "wording-3: after" in svg


def test_phrasings_of_one_score_still_have_an_axis(found: Phrasings) -> None:
    same = Spread(scores=(0.5, 0.5, 0.5), deviation=0.0, spread=0.0)
    alike = found.model_copy(update={"names": ("a", "b", "c"), "base": same, "tuned": same})
    assert phrasing_chart(alike).count("<circle") == 6


def test_page_and_terminal_show_them_only_where_there_are_some(
    phrased: Results, example: Results
) -> None:
    page = render(phrased, [], [])
    assert page.count("<h2>How much the phrasing matters</h2>") == 1
    assert "Worst</th>" in page
    assert "wording-11" in page
    assert "phrasing" not in render(example, [], [])
    on = Console(file=StringIO(), width=80, color_system=None)
    terminal.show(phrased, on)
    terminal.compare([phrased, example], on)
    assert isinstance(on.file, StringIO)
    text = " ".join(on.file.getvalue().split())
    before = " ".join(phrasings.cells(phrased.phrasings[0].base, True))
    assert f"ROUGE-1 before {before} ROUGE-1 after" in text
    assert "mean of 12 phrasings" in text


def test_a_terminal_shows_each_tasks_first_score_over_phrasings_and_the_page_all(
    phrased: Results, found: Phrasings
) -> None:
    second = found.model_copy(update={"metric": "json_valid"})
    both = phrased.model_copy(update={"phrasings": (found, second)})
    on = Console(file=StringIO(), width=80, color_system=None)
    terminal.show(both, on)
    assert isinstance(on.file, StringIO)
    assert "ROUGE-1 before" in on.file.getvalue()
    assert "JSON before" not in on.file.getvalue()
    assert "answers that are JSON before" in render(both, [], [])


def test_runs_in_other_phrasings_of_the_same_number_are_marked(
    phrased: Results, found: Phrasings, example: Results
) -> None:
    names = ("another", *found.names[1:])
    other = phrased.model_copy(
        update={"run": "other", "phrasings": (found.model_copy(update={"names": names}),)}
    )
    on = Console(file=StringIO(), width=200, color_system=None)
    terminal.compare([phrased, other, example, phrased], on)
    assert isinstance(on.file, StringIO)
    text = " ".join(on.file.getvalue().split())
    assert text.count(f"{phrased.run}, mean of 12 phrasings (A) ") == 2
    assert "other, mean of 12 phrasings (B) " in text
    assert "(before, mean of 12 phrasings (B))" in text
    assert "support-chats/test was scored in different phrasings. A: wording-0, wording-1," in text
    assert "; B: another, wording-1, wording-2," in text
    alike = found.model_copy(update={"names": found.names[::-1]})
    turned = phrased.model_copy(update={"phrasings": (alike,)})
    assert phrasings.marks([phrased, turned, example], found.task) == ["", "", ""]
    assert phrasings.unlike([phrased, turned, example], found.task) == ""


def test_names_of_phrasings_cannot_break_the_page(phrased: Results, found: Phrasings) -> None:
    odd = found.model_copy(update={"names": ("<script>alert(1)</script>", *found.names[1:])})
    page = render(phrased.model_copy(update={"phrasings": (odd,)}), [], [])
    assert "<script>" not in page


def test_items_are_told_apart_by_their_phrasing(tmp_path: Path, phrased: Results) -> None:
    for who, score in (("base", 0.1), ("tuned", 0.6)):
        (tmp_path / "eval" / who).mkdir(parents=True)
        lines = [
            Answer(
                id="7", task="support-chats/test", prompt="p", output=f"o{i}", references=("r",),
                scores={"rouge1": score}, phrasing=f"wording-{i}",
            ).model_dump_json()
            for i in range(2)
        ]  # fmt: skip
        (tmp_path / "eval" / who / "t.jsonl").write_text("\n".join(lines) + "\n")
    items = read_items(tmp_path)
    assert [item.after.output for item in items] == ["o0", "o1"]
    shown = examples(phrased, items)
    assert "7 · wording-1" in shown
    assert "Selected from 2 answers" in shown
