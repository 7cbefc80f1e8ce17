"""A guard that lost is said to have lost, alone and as part of its suite."""

from __future__ import annotations

import pytest

from brulee.evaluation.answers import Answer
from brulee.evaluation.guards import Guard
from brulee.evaluation.tasks import Example, Judged, Reply, SuiteTask
from brulee.pipeline.forgetting import forgotten, guard_scores, judged, suites_forgotten


class Right(SuiteTask):
    """Right or wrong."""

    metrics = ("accuracy",)

    def __init__(self, name: str) -> None:
        self.name = name

    def examples(self, limit: int | None = None) -> list[Example]:
        return []

    def judge(self, example: Example, reply: Reply) -> Judged:
        return Judged("")


def answers(right: int, of: int = 100, known: int | None = None) -> list[Answer]:
    """So many of `of` items right; the first `known` have a published answer."""
    return [
        Answer(
            str(i),
            "t",
            "",
            "",
            (),
            {},
            {"accuracy": [float(i < right)]} if i < (known or of) else {},
            1,
        )
        for i in range(of)
    ]


def test_a_loss_beyond_chance_is_forgetting_and_a_tie_is_not() -> None:
    guard = Guard(Right("x/a"), [])
    lost = forgotten("x/a", guard, answers(80), answers(60), 500)
    assert (lost.kept, lost.difference) == ("forgot", pytest.approx(-0.2))
    assert lost.p < 0.01
    same = forgotten("x/a", guard, answers(80, of=200), answers(80, of=200), 500)
    assert (same.kept, same.high) == ("kept", pytest.approx(0.0188, abs=1e-4))
    assert same.low == pytest.approx(-same.high)


def test_a_few_items_that_stay_as_they_were_rule_no_loss_out() -> None:
    """Resampled, four items without a loss have none: 0.00 to 0.00."""
    guard = Guard(Right("x/a"), [])
    same = forgotten("x/a", guard, answers(2, of=4), answers(2, of=4), 500)
    assert (same.kept, same.low) == ("unclear", pytest.approx(-0.49, abs=1e-3))
    assert same.high == pytest.approx(-same.low)
    one = forgotten("x/a", guard, answers(20, of=40), answers(21, of=40), 500)
    assert (one.kept, one.low) == ("unclear", pytest.approx(-0.065, abs=0.002))
    assert 0.1 < one.high < 0.15
    gained = forgotten("x/a", guard, answers(20, of=40), answers(30, of=40), 500)
    assert gained.kept == "improved"
    assert gained.low > 0


def test_items_without_a_published_answer_do_not_count() -> None:
    guard = Guard(Right("x/a"), [])
    base, tuned = guard_scores("x/a", guard, answers(30, known=50), answers(20, known=50), 100)
    assert (base.value, tuned.value, base.n) == (0.6, 0.4, 50)


def test_a_suite_changes_by_the_mean_of_its_tasks() -> None:
    guards = {name: Guard(Right(name), []) for name in ("x/a", "x/b", "y/a", "plain")}
    before = dict.fromkeys(guards, answers(80))
    after = {**before, "x/a": answers(60), "x/b": answers(76)}
    (found,) = suites_forgotten(guards, before, after, 500)
    assert found.task == "x (2 tasks)"
    assert found.difference == pytest.approx((-0.2 - 0.04) / 2)
    assert found.kept == "forgot"
    assert found.low < found.difference < found.high < 0
    alone = forgotten("x/b", guards["x/b"], before["x/b"], after["x/b"], 500)
    assert alone.difference == pytest.approx(-0.04)


def test_a_loss_among_many_guards_must_hold_against_their_number() -> None:
    guard = Guard(Right("x/a"), [])
    lost = forgotten("x/a", guard, answers(80), answers(73), 500)
    assert (lost.kept, lost.high < 0) == ("forgot", True)
    assert judged([lost]) == (lost,)
    same = [
        forgotten(f"x/{i}", guard, answers(80), answers(80), 500).model_copy(
            update={"task": f"x/{i}"}
        )
        for i in range(9)
    ]
    among = judged([lost, *same])[0]
    assert (among.kept, among.p_holm) == ("unclear", pytest.approx(10 * lost.p))


def test_two_changes_that_cancel_out_are_no_forgetting() -> None:
    guards = {name: Guard(Right(name), []) for name in ("x/a", "x/b")}
    before = dict.fromkeys(guards, answers(50))
    (found,) = suites_forgotten(guards, before, {"x/a": answers(70), "x/b": answers(30)}, 500)
    assert found.difference == pytest.approx(0.0)
    assert found.kept == "unclear"
    assert found.p > 0.5
