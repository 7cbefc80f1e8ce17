"""A guard that lost is said to have lost, alone and as part of its suite."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

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


@pytest.mark.parametrize(
    ("of", "right", "left", "kept"),
    [(100, 80, 73, "unclear"), (200, 160, 154, "unclear"), (1000, 800, 793, "kept")],
)
def test_a_loss_among_many_guards_must_hold_against_their_number(
    of: int, right: int, left: int, kept: str
) -> None:
    """If it does not, the interval says whether it may still exceed the margin of 0.02."""
    guard = Guard(Right("x/a"), [])
    lost = forgotten("x/a", guard, answers(right, of), answers(left, of), 500)
    assert (lost.kept, lost.high < 0) == ("forgot", True)
    assert judged([lost]) == (lost,)
    same = [
        forgotten(f"x/{i}", guard, answers(80), answers(80), 500).model_copy(
            update={"task": f"x/{i}"}
        )
        for i in range(9)
    ]
    among = judged([lost, *same])[0]
    assert (among.kept, among.p_holm) == (kept, pytest.approx(10 * lost.p))


def test_two_changes_that_cancel_out_are_no_forgetting() -> None:
    guards = {name: Guard(Right(name), []) for name in ("x/a", "x/b")}
    before = dict.fromkeys(guards, answers(50))
    (found,) = suites_forgotten(guards, before, {"x/a": answers(70), "x/b": answers(30)}, 500)
    assert found.difference == pytest.approx(0.0)
    assert found.kept == "unclear"
    assert found.p > 0.5


class Bits(Right):
    """Bits per byte, less of which is better."""

    metrics = ("bits",)

    def reduce(self, key: str, mean_S: Any, items: Any) -> Any:
        return mean_S[..., 0] / mean_S[..., 1]

    def higher_is_better(self, key: str) -> bool:
        return False


def read(*bits: float) -> list[Answer]:
    """Texts of 1,000 bytes each."""
    return [
        Answer(str(i), "t", "", "", (), {}, {"bits": [1000 * of_text, 1000.0]}, 1)
        for i, of_text in enumerate(bits)
    ]


def test_scores_of_which_less_is_better_have_no_part_in_a_suites_mean() -> None:
    kinds = {"x/a": Bits, "x/b": Right, "x/c": Right, "y/a": Bits, "y/b": Bits}
    guards = {name: Guard(kind(name), []) for name, kind in kinds.items()}
    before = {name: read(1.1, 1.2) if kinds[name] is Bits else answers(8) for name in guards}
    (found,) = suites_forgotten(guards, before, {**before, "x/b": answers(4)}, 100)
    assert (found.task, found.difference) == ("x (2 tasks)", pytest.approx(-0.02))


def test_one_or_two_texts_rule_no_loss_out() -> None:
    guard = Guard(Bits("prose"), [])
    one = forgotten("prose", guard, read(1.1), read(1.105), 200)
    two = forgotten("prose", guard, read(1.1, 1.2), read(1.105, 1.209), 200)
    assert [judged([found])[0].kept for found in (one, two)] == ["unclear", "unclear"]
    many = forgotten("prose", guard, read(*[1.1] * 30), read(*[1.1, 1.105, 1.102] * 10), 200)
    assert (many.kept, many.high < 0.02) == ("forgot", True)


def test_guards_of_a_suite_with_few_items_prove_nothing_together() -> None:
    """Resampled guard by guard, a single item each has no spread: p was 1 / resamples."""
    guards = {f"x/{i}": Guard(Right(f"x/{i}"), []) for i in range(4)}
    before, after = dict.fromkeys(guards, answers(1, of=1)), dict.fromkeys(guards, answers(0, of=1))
    (found,) = suites_forgotten(guards, before, after, 500)
    assert (found.difference, found.p) == (-1.0, 2 / 16)
    assert found.kept == "unclear"


@pytest.mark.parametrize("gained", [0, 1])
def test_a_suite_of_too_few_items_rules_no_loss_out_whether_or_not_one_gained(gained: int) -> None:
    """One item gained of a hundred showed a spread, and with it less than -0.02 was ruled out."""
    guards = {f"x/{i}": Guard(Right(f"x/{i}"), []) for i in range(4)}
    before = dict.fromkeys(guards, answers(12, of=25))
    after = {**before, "x/0": answers(12 + gained, of=25)}
    (found,) = suites_forgotten(guards, before, after, 500)
    assert (found.kept, found.p) == ("unclear", 1.0)
    assert found.low < -0.02 < 0.02 < found.high


def test_items_of_one_passage_are_one_witness() -> None:
    guard = Guard(Right("x/a"), [])

    def shared(found: list[Answer]) -> list[Answer]:
        return [replace(one, cluster=str(i // 25)) for i, one in enumerate(found)]

    plain = forgotten("x/a", guard, answers(75), answers(50), 500)
    passages = forgotten("x/a", guard, shared(answers(75)), shared(answers(50)), 500)
    assert (plain.kept, passages.kept) == ("forgot", "unclear")
    assert passages.low < plain.low
