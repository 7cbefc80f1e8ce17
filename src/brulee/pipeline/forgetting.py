"""Evaluation of guards: their scores before and after, and whether anything was forgotten.

Shape legend: `N` items, `S` statistics of one item, `C` clusters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from brulee.evaluation import resampling
from brulee.evaluation.answers import Answer, clusters, statistics_array, units
from brulee.evaluation.averages import Part, average, average_change
from brulee.evaluation.base import Array
from brulee.evaluation.guards import Guard
from brulee.evaluation.shares import is_share
from brulee.evaluation.stats import (
    Comparison,
    added,
    compare,
    interval,
    limits,
    randomisation,
    resampled,
)
from brulee.pipeline.comparing import adjusted
from brulee.reporting.results import Forgetting, Score, outcome


def guard_scores(
    name: str, guard: Guard, before: Sequence[Answer], after: Sequence[Answer], resamples: int
) -> tuple[Score, Score]:
    """A guard's main score for base and tuned, with intervals."""
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
    name: str,
    guard: Guard,
    before: Sequence[Answer],
    after: Sequence[Answer],
    resamples: int,
    swaps: int | None = None,
) -> Forgetting:
    """The change of a guard's main score, paired by item, and the outcome by interval and p."""
    base, tuned = _scored(guard, before, after)
    base_NS, tuned_NS = (statistics_array(side, guard.metric) for side in (base, tuned))
    reduce = partial(guard.task.reduce, guard.metric)
    found = compare(base_NS, tuned_NS, reduce, resamples, clusters=clusters(base), swaps=swaps)
    better = guard.task.higher_is_better(guard.metric)
    gain = (found.low, found.high) if better else (-found.high, -found.low)
    # A single text says nothing about others.
    said = outcome(*gain, found.p) if units(base) > 1 else "unclear"
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
        kept=said,
    )


def suites_forgotten(
    guards: Mapping[str, Guard],
    before: Mapping[str, Sequence[Answer]],
    after: Mapping[str, Sequence[Answer]],
    resamples: int,
) -> list[Forgetting]:
    """The mean change over a suite's guards with higher-is-better scores, if there are several.

    Its interval is that of an average of paired changes (evaluation/averages.py); p is from a
    randomisation test that swaps both sides item by item, over the items of all its tasks.
    """
    by_suite: dict[str, list[str]] = defaultdict(list)
    for name, guard in guards.items():
        if "/" in name and guard.task.higher_is_better(guard.metric):
            by_suite[name.partition("/")[0]].append(name)
    return [
        _mean_change(suite, [(guards[n], before[n], after[n]) for n in names], resamples)
        for suite, names in by_suite.items()
        if len(names) > 1
    ]


def judged(changes: Sequence[Forgetting]) -> tuple[Forgetting, ...]:
    """Outcomes of guards that were measured together, by p corrected for their number."""
    return tuple(
        change
        if change.kept == "unclear"  # a larger p cannot make it clearer
        else change.model_copy(
            update={"kept": outcome(change.gain[1], change.gain[2], change.corrected_p)}
        )
        for change in adjusted(changes)
    )


def _mean_change(
    suite: str,
    members: Sequence[tuple[Guard, Sequence[Answer], Sequence[Answer]]],
    resamples: int,
) -> Forgetting:
    changes = [_change(*member, resamples, seed) for seed, member in enumerate(members)]
    base, tuned = (
        float(np.mean([getattr(c.found, s) for c in changes])) for s in ("base", "tuned")
    )
    low, high = _bounds_of_mean(changes)
    p = randomisation(np.concatenate([c.added for c in changes]) / len(changes), resamples)
    return Forgetting(
        task=f"{suite} ({len(members)} tasks)",
        metric="mean",
        base=base,
        tuned=tuned,
        difference=tuned - base,
        low=low,
        high=high,
        p=p,
        kept=outcome(low, high, p),
    )


@dataclass(frozen=True)
class _Change:
    """A guard's change as a part of an average, and each unit's contribution to it (C,).

    If `part.share` is true, `gained` and `lost` are shares of its items.
    """

    found: Comparison
    part: Part
    added: Array

    @property
    def gained(self) -> float:
        """The share of items that got better."""
        return self.found.wins / self.items

    @property
    def lost(self) -> float:
        """The share of items that got worse."""
        return self.found.losses / self.items

    @property
    def items(self) -> int:
        """Number of items."""
        return self.found.wins + self.found.losses + self.found.ties


def _bounds_of_mean(changes: Sequence[_Change]) -> tuple[float, float]:
    parts = [change.part for change in changes]
    if not all(part.share for part in parts):
        return average(parts)
    gained = float(np.mean([change.gained for change in changes]))
    lost = float(np.mean([change.lost for change in changes]))
    return average_change(parts, gained, lost)


def _change(
    guard: Guard, before: Sequence[Answer], after: Sequence[Answer], resamples: int, seed: int
) -> _Change:
    sides = _scored(guard, before, after)
    base_NS, tuned_NS = (statistics_array(side, guard.metric) for side in sides)
    reduce, of = partial(guard.task.reduce, guard.metric), clusters(sides[0])
    found = compare(base_NS, tuned_NS, reduce, resamples, seed, of)
    base_B, tuned_B = (resampled(s, reduce, resamples, seed, of) for s in (base_NS, tuned_NS))
    drawn, count = tuned_B - base_B, units(sides[0])
    share = is_share(reduce, base_NS, tuned_NS)
    least, most = limits(reduce, base_NS, tuned_NS)
    span = least - most, most - least
    part = Part(found.difference, found.low, found.high, drawn, count, share, span)
    base_C, tuned_C = (added(resampling.units(s, of), reduce) for s in (base_NS, tuned_NS))
    return _Change(found, part, tuned_C - base_C)


def _scored(
    guard: Guard, before: Sequence[Answer], after: Sequence[Answer]
) -> tuple[list[Answer], list[Answer]]:
    """The items with a score on both sides; those without a published answer have none."""
    pairs = [
        pair
        for pair in zip(before, after, strict=True)
        if all(guard.metric in answer.statistics for answer in pair)
    ]
    return [base for base, _ in pairs], [tuned for _, tuned in pairs]
