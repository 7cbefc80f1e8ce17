"""What a run's guards say: their scores before and after, and whether anything was forgotten.

Shape legend: `N` items, `S` statistics of one item, `B` resamples, `K` guards of one suite.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from brulee.evaluation.answers import Answer, statistics_array
from brulee.evaluation.base import Array
from brulee.evaluation.guards import Guard
from brulee.evaluation.scores import clusters
from brulee.evaluation.stats import Comparison, compare, interval, is_share, resampled
from brulee.pipeline.comparing import adjusted
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
    name: str,
    guard: Guard,
    before: Sequence[Answer],
    after: Sequence[Answer],
    resamples: int,
    swaps: int | None = None,
) -> Forgetting:
    """The change of a guard's main score, paired by item, and what interval and p say of it."""
    base, tuned = _scored(guard, before, after)
    base_NS, tuned_NS = (statistics_array(side, guard.metric) for side in (base, tuned))
    reduce = partial(guard.task.reduce, guard.metric)
    found = compare(base_NS, tuned_NS, reduce, resamples, clusters=clusters(base), swaps=swaps)
    low, high = found.low, found.high
    if is_share(base_NS, tuned_NS, reduce):
        low, high = _with_the_unseen(found)
    better = guard.task.higher_is_better(guard.metric)
    gain = (low, high) if better else (-high, -low)
    return Forgetting(
        task=name,
        metric=guard.metric,
        base=found.base,
        tuned=found.tuned,
        difference=found.difference,
        low=low,
        high=high,
        p=found.p,
        higher_is_better=better,
        kept=outcome(*gain, found.p),
    )


def _with_the_unseen(found: Comparison) -> tuple[float, float]:
    """The interval of a share of right items, with the losses and gains that no item showed.

    Resampling items of which none was lost finds no loss, however few they are. Of `n` such items
    up to 3 / n may be lost elsewhere (the rule of three at 95%: Hanley and Lippman-Hand 1983).
    """
    unseen = min(1.0, 3 / (found.wins + found.losses + found.ties))
    low = -unseen if found.losses == 0 and found.low == 0 else found.low
    high = unseen if found.wins == 0 and found.high == 0 else found.high
    return low, high


def suites_forgotten(
    guards: Mapping[str, Guard],
    before: Mapping[str, Sequence[Answer]],
    after: Mapping[str, Sequence[Answer]],
    resamples: int,
) -> list[Forgetting]:
    """The mean change over a suite's guards, for every suite with several; more is better in all.

    Items are resampled within their task, the same ones on both sides; p comes from the share of
    resamples beyond zero.
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
    """Changes of guards that were measured together: p corrected for their number decides."""
    return tuple(
        change.model_copy(
            update={"kept": outcome(change.gain[1], change.gain[2], change.corrected_p)}
        )
        for change in adjusted(changes)
    )


def _mean_change(
    suite: str,
    members: Sequence[tuple[Guard, Sequence[Answer], Sequence[Answer]]],
    resamples: int,
) -> Forgetting:
    sides_K2 = [_scored(*member) for member in members]
    draws = [
        [_draws(guard, side, resamples, seed) for side in sides]
        for seed, ((guard, _, _), sides) in enumerate(zip(members, sides_K2, strict=True))
    ]
    base_B, tuned_B = np.mean([[b for _, b in pair] for pair in draws], axis=0)
    base, tuned = np.mean([[value for value, _ in pair] for pair in draws], axis=0)
    change_B = tuned_B - base_B
    low, high = np.quantile(change_B, [0.025, 0.975])
    beyond = min(int((change_B <= 0).sum()), int((change_B >= 0).sum()))
    p = min(1.0, 2 * (beyond + 1) / (len(change_B) + 1))
    return Forgetting(
        task=f"{suite} ({len(members)} tasks)",
        metric="mean",
        base=float(base),
        tuned=float(tuned),
        difference=float(tuned - base),
        low=float(low),
        high=float(high),
        p=p,
        kept=outcome(float(low), float(high), p),
    )


def _draws(
    guard: Guard, answers: Sequence[Answer], resamples: int, seed: int
) -> tuple[float, Array]:
    """A guard's score, and that in each resample (B,)."""
    stats_NS = statistics_array(answers, guard.metric)
    reduce = partial(guard.task.reduce, guard.metric)
    value = float(reduce(stats_NS.mean(axis=0), float(len(stats_NS))))
    return value, resampled(stats_NS, reduce, resamples, seed, clusters(answers))


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
