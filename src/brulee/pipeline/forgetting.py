"""What a run's guards say: their scores before and after, and whether anything was forgotten.

Shape legend: `N` items, `S` statistics of one item.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from brulee.evaluation.answers import Answer, statistics_array
from brulee.evaluation.guards import Guard
from brulee.evaluation.scores import clusters
from brulee.evaluation.stats import compare, interval
from brulee.reporting.results import Forgetting, Score, outcome


def guard_scores(
    name: str, guard: Guard, before: Sequence[Answer], after: Sequence[Answer], resamples: int
) -> tuple[Score, Score]:
    """A guard's main score of base and tuned, with intervals."""
    base, tuned = (
        interval(
            statistics_array(answers, guard.metric),
            partial(guard.task.reduce, guard.metric),
            resamples,
            clusters=clusters(answers),
        )
        for answers in _scored(guard, before, after)
    )
    return (
        Score(who="base", task=name, metric=guard.metric, **base._asdict()),
        Score(who="tuned", task=name, metric=guard.metric, **tuned._asdict()),
    )


def forgotten(
    name: str, guard: Guard, before: Sequence[Answer], after: Sequence[Answer], resamples: int
) -> Forgetting:
    """The change of a guard's main score, paired by item, and what its interval says."""
    base, tuned = _scored(guard, before, after)
    found = compare(
        statistics_array(base, guard.metric),
        statistics_array(tuned, guard.metric),
        partial(guard.task.reduce, guard.metric),
        resamples,
        clusters=clusters(base),
    )
    better = guard.task.higher_is_better(guard.metric)
    gain = (found.low, found.high) if better else (-found.high, -found.low)
    return Forgetting(
        task=name,
        metric=guard.metric,
        base=found.base,
        tuned=found.tuned,
        difference=found.difference,
        low=found.low,
        high=found.high,
        p=found.p,
        higher_is_better=better,
        kept=outcome(*gain),
    )


def _scored(
    guard: Guard, before: Sequence[Answer], after: Sequence[Answer]
) -> tuple[list[Answer], list[Answer]]:
    """The items that both sides have a score of: one without a published answer has none."""
    pairs = [
        pair
        for pair in zip(before, after, strict=True)
        if all(guard.metric in answer.statistics for answer in pair)
    ]
    return [base for base, _ in pairs], [tuned for _, tuned in pairs]
