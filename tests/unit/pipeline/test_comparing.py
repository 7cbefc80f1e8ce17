from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from brulee.evaluation import stats
from brulee.evaluation.phrasings import Change, Spread
from brulee.pipeline.comparing import adjusted, comparison, phrasings, swaps
from brulee.reporting.results import Comparison


def found(p: float, **others: Any) -> stats.Comparison:
    values = {"base": 0.5, "tuned": 0.6, "difference": 0.1, "low": 0.02, "high": 0.18, "p": p}
    values |= {"wins": 6, "losses": 2, "ties": 2, "minimum_detectable": 0.1}
    return stats.Comparison(**(values | others))


def pair(task: str, metric: str, p: float) -> Comparison:
    return comparison(task, metric, found(p), higher_is_better=True, trained=True)


def test_p_values_of_several_tasks_are_corrected_score_by_score() -> None:
    pairs = [
        pair("a", "rouge1", 0.01), pair("a", "bleu", 0.2), pair("b", "rouge1", 0.04),
        pair("b", "bleu", 0.03), pair("c", "accuracy", 0.03),
    ]  # fmt: skip
    corrected = [p.p_holm for p in adjusted(pairs)]
    assert corrected == pytest.approx([0.03, 0.2, 0.06, 0.06, 0.06])


def test_each_score_of_two_tasks_is_corrected_for_two_tests() -> None:
    pairs = [pair(task, metric, 0.02) for task in "ab" for metric in ("rouge1", "rouge2", "bleu")]
    assert [p.p_holm for p in adjusted(pairs)] == [0.04] * 6


def test_one_test_needs_no_correction() -> None:
    pairs = [pair("a", "rouge1", 0.01), pair("a", "bleu", 0.2)]
    assert [p.p_holm for p in adjusted(pairs)] == [None, None]


def test_further_scores_of_one_task_are_corrected_together() -> None:
    values = {"rouge1": 0.04, "rouge2": 0.03, "bleu": 0.2, "invented": 0.01}
    corrected = adjusted([pair("a", metric, p) for metric, p in values.items()])
    assert [p.p_holm for p in corrected] == [None, *map(pytest.approx, (0.06, 0.2, 0.03))]
    assert [p.direction for p in corrected] == [1, 0, 0, 1]


def test_a_comparison_keeps_that_its_score_only_describes() -> None:
    told = comparison("a", "coverage", found(0.01), True, True, descriptive=True)
    assert (told.descriptive, told.direction) == (True, 0)
    assert not pair("a", "bleu", 0.01).descriptive


def test_changes_of_the_spread_are_corrected_among_tasks() -> None:
    side = Spread((0.1, 0.5), 0.2, 0.2)
    found = [
        phrasings(task, metric, ("a", "b"), Change(side, side, 0.1, 0.02, 0.18, p), True)
        for task, metric, p in (("x", "f1", 0.04), ("x", "bleu", 0.01), ("y", "f1", 0.03))
    ]
    assert [one.p_holm for one in adjusted(found)] == [0.06, None, 0.06]
    assert [one.direction for one in found] == [1, 1, 1]
    assert [one.direction for one in adjusted(found)] == [0, 1, 0]


def test_a_correction_can_take_the_verdict_away() -> None:
    before = pair("a", "rouge1", 0.04)
    (after, _) = adjusted([before, pair("b", "rouge1", 0.5)])
    assert (before.direction, after.direction) == (1, 0)
    assert after.p_holm == pytest.approx(0.08)


def test_wins_are_items_that_got_better() -> None:
    lower = comparison("a", "ter", found(0.01), higher_is_better=False, trained=True)
    assert (lower.wins, lower.losses) == (2, 6)
    assert lower.direction == -1


def test_among_many_tasks_a_clear_change_can_still_count() -> None:
    rng = np.random.default_rng(0)
    base_NS = rng.uniform(0.2, 0.4, (40, 1))

    def mean(mean_S: Any, _items: Any) -> Any:
        return mean_S[..., 0]

    clear = stats.compare(base_NS, base_NS + 0.2, mean, 200, swaps=swaps(200, 150))
    pairs = [pair(str(i), "rouge1", 1.0) for i in range(149)]
    (first, *_) = adjusted([comparison("a", "rouge1", clear, True, True), *pairs])
    assert first.direction == 1
