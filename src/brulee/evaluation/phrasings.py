"""Scores over several phrasings of the same items, and their spread over the phrasings.

Reports the mean (Wei et al. 2021, with the standard deviation) and the median with quartiles (Sanh
et al. 2021) of the phrasings' scores. Resampling and swapping treat an item with all its phrasings
as one unit: the set of phrasings is fixed, the items are a sample.

The standard deviation of scores over few items is large by chance alone, even if no phrasing is
better than another. `spread` corrects for that: it subtracts from the variance of the scores what
sampling the items contributes, estimated by resampling.

Shape legend: `N` items, `C` clusters, `P` phrasings, `S` statistics of an item, `K` those under all
phrasings, `B` resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Final, NamedTuple

import numpy as np

from brulee.errors import BruleeError
from brulee.evaluation import resampling, shares, stats
from brulee.evaluation.answers import Answer, statistics_array
from brulee.evaluation.base import Array, Metric
from brulee.evaluation.resampling import TIE, Clusters, Reduce

_NOISE: Final = 2  # a resample has the sampling variance twice: from the items and from the draw


class Table(NamedTuple):
    """A score's statistics over phrasings.

    `stats` (N, ...) with `reduce` give the mean over phrasings; `each` (N, K) with `scores`, which
    maps means (..., K) to (..., P), give every phrasing's score. `answers` (N) are those under the
    first phrasing.
    """

    stats: Array
    reduce: Reduce
    each: Array
    scores: Callable[[Array, float | Array], Array]
    answers: Sequence[Answer] = ()


class Spread(NamedTuple):
    """Every phrasing's score (P); their standard deviation, raw and corrected for item sampling."""

    scores: tuple[float, ...]
    deviation: float
    spread: float


class Change(NamedTuple):
    """The spread of two models over the same phrasings of the same items, tuned minus base.

    `p` is two-sided, for the null hypothesis of no change.
    """

    base: Spread
    tuned: Spread
    difference: float
    low: float
    high: float
    p: float


def by_phrasing(answers: Sequence[Answer]) -> list[list[Answer]]:
    """The answers under each phrasing; one list if every item has only one.

    Raises ValueError unless every phrasing has the same items in the same order.
    """
    if len({answer.id for answer in answers}) == len(answers):
        return [list(answers)]
    found: dict[str, list[Answer]] = {}
    for answer in answers:
        found.setdefault(answer.phrasing, []).append(answer)
    parts = list(found.values())
    if any([a.id for a in part] != [a.id for a in parts[0]] for part in parts):
        raise ValueError("phrasings that are compared must have the same items")
    return parts


def table(parts: Sequence[Sequence[Answer]], key: str, metrics: Sequence[Metric]) -> Table:
    """The statistics of one score under every phrasing, each by its own metric.

    If the score is the plain mean over items, each item counts with the mean over its phrasings;
    otherwise the phrasings' scores are averaged. A single phrasing keeps its metric's statistics.
    """
    each = [m.join(key, statistics_array(p, key)) for p, m in zip(parts, metrics, strict=True)]
    reduces = [partial(metric.reduce, key) for metric in metrics]
    ends = list(accumulate(stats.shape[1] for stats in each))
    scores = partial(_scores, reduces, ends)
    each_NK = np.concatenate(each, axis=1)
    if len(each) == 1:
        return Table(each_NK, reduces[0], each_NK, scores, parts[0])
    if all(shares.is_mean(r, s.shape[1], len(s)) for r, s in zip(reduces, each, strict=True)):
        return Table(each_NK.mean(axis=1, keepdims=True), reduces[0], each_NK, scores, parts[0])
    return Table(each_NK, partial(_mean, scores), each_NK, scores, parts[0])


def tables(
    sides: Sequence[Sequence[Sequence[Answer]]],
    metrics: Sequence[Sequence[Metric]],
    asked: Collection[str] | None = None,
) -> Iterator[tuple[str, Metric, list[Table]]]:
    """Every score's key, its metric under the first phrasing and each side's table.

    A side is a model's answers under each phrasing, and `metrics` are those of each phrasing, of
    which only the scores in `asked` count (default: all). A score covers the items that have it and
    is left out if none has. Raises BruleeError if these items differ between sides or phrasings,
    because comparisons would pair different items.
    """
    by_key = {
        key: each
        for each in zip(*metrics, strict=True)
        for key in each[0].keys
        if asked is None or key in asked
    }
    for key, each in by_key.items():
        own = [[[a for a in p if key in a.statistics] for p in parts] for parts in sides]
        first, *others = [[a.id for a in part] for parts in own for part in parts]
        if any(other != first for other in others):
            raise BruleeError(
                f"the metric {key!r} judged some items of one model, or under one phrasing, and not"
                " of another: which items have a part in a score must depend on their references "
                "alone."
            )
        if first:
            yield key, each[0], [table(parts, key, each) for parts in own]


def change(
    base: Table,
    tuned: Table,
    resamples: int,
    of: Clusters = None,
    seed: int = 0,
    swaps: int | None = None,
) -> Change:
    """Both models' spread over two or more phrasings, and its change with a 95% interval and p.

    The interval uses percentiles of paired resamples, widened for few items (Hesterberg 2015). p
    comes from `swaps` random sign patterns of each item's or cluster's first-order contribution to
    the change of the squared spread, as `stats.compare` does for a score that is not a mean.
    Swapping the answers themselves would test whether both models score the same under each
    phrasing: two models with the same spread that favour different phrasings would differ.
    """
    before, after = (_drawn(one, resamples, seed, of) for one in (base, tuned))
    value = after.found.spread - before.found.spread
    count = len(resampling.units(base.each, of).sizes)
    changes_B = after.spreads - before.spreads
    inside = all(resampling.inside(one.each, one.scores) for one in (base, tuned))
    if count > 1 and float(np.ptp(changes_B)) <= TIE and inside:
        low, high = _unseen(before.found, after.found, count)
    else:
        low, high = _bounds(changes_B, value, count)
    added_C = _added(tuned, of) - _added(base, of)
    p = stats.randomisation(added_C, swaps or resamples, seed) if count > 1 else 1.0
    return Change(before.found, after.found, value, low, high, p)


class _Drawn(NamedTuple):
    """The observed spread, and the corrected `spreads` (B) of the resamples."""

    found: Spread
    spreads: Array


def _drawn(one: Table, resamples: int, seed: int, of: Clusters) -> _Drawn:
    units = resampling.units(one.each, of)
    count = len(units.sizes)
    items = len(one.each)
    scores_P = one.scores(one.each.mean(axis=0), float(items))
    draws = [
        one.scores((w @ units.sums) / (w @ units.sizes)[:, None], w @ units.sizes)
        for w in resampling.draws(count, resamples, seed)
    ]
    scores_BP = np.concatenate(draws)
    variance = float(scores_P.var(ddof=1))
    # A single unit shows no sampling variance.
    chance = _chance(scores_BP) * (count / (count - 1) if count > 1 else 0.0)
    spreads_B = np.sqrt(np.maximum(0.0, scores_BP.var(axis=1, ddof=1) - _NOISE * chance))
    spread = math.sqrt(max(0.0, variance - chance))
    found = Spread(tuple(map(float, scores_P)), math.sqrt(variance), spread)
    return _Drawn(found, spreads_B)


def _chance(scores_BP: Array) -> float:
    """The variance over phrasings that comes from sampling the items alone."""
    apart_BP = scores_BP - scores_BP.mean(axis=1, keepdims=True)
    total: float = apart_BP.var(axis=0).sum() / (scores_BP.shape[1] - 1)
    return total


def _added(one: Table, of: Clusters) -> Array:
    """Each unit's first-order contribution to the squared spread: (C,); they sum to it.

    The corrected square is the mean over pairs of units of the covariance over phrasings of their
    marks (jackknife pseudo-values); a unit is in twice as many pairs as its share of that mean.
    """
    units = resampling.units(one.each, of)
    count, items = len(units.sizes), float(len(one.each))
    if count == 1:
        return np.zeros(1)
    marks_CP = one.scores(one.each.mean(axis=0), items) + count * resampling.pulls(
        units, one.scores
    )
    marks_CP = marks_CP - marks_CP.mean(axis=1, keepdims=True)
    others_CP = (marks_CP.sum(axis=0) - marks_CP) / (count - 1)
    alike_C = (marks_CP * others_CP).sum(axis=1) / (marks_CP.shape[1] - 1)
    added_C: Array = (2 * alike_C - alike_C.mean()) / count
    return added_C


def _bounds(drawn_B: Array, value: float, count: int) -> tuple[float, float]:
    from scipy.special import ndtr

    if count == 1 or float(np.ptp(drawn_B)) <= TIE:
        return value, value
    reach = math.sqrt(count / (count - 1)) * resampling.t_quantile(count, 0.95)
    low, high = np.quantile(drawn_B, [float(ndtr(-reach)), float(ndtr(reach))])
    return min(float(low), value), max(float(high), value)


def _unseen(base: Spread, tuned: Spread, count: int) -> tuple[float, float]:
    """Bounds of a change that is the same in all resamples, allowing for unseen outcomes.

    The spread is largest if the unseen share of units is right under half of the phrasings and
    wrong under the others.
    """
    phrasings, may = len(base.scores), shares.unseen(count)
    half = phrasings // 2
    far = may * math.sqrt(half * (phrasings - half) / (phrasings * (phrasings - 1)))
    (least, most), (fewest, largest) = (
        (max(0.0, (1 - may) * side.spread - far), (1 - may) * side.spread + far)
        for side in (base, tuned)
    )
    return fewest - most, largest - least


def _scores(
    reduces: Sequence[Reduce], ends: Sequence[int], mean_K: Array, items: float | Array
) -> Array:
    """Each phrasing's score: (..., K) -> (..., P)."""
    starts = [0, *ends[:-1]]
    parts = zip(reduces, starts, ends, strict=True)
    return np.stack([np.asarray(reduce(mean_K[..., a:b], items)) for reduce, a, b in parts], -1)


def _mean(
    scores: Callable[[Array, float | Array], Array], mean_K: Array, items: float | Array
) -> Array:
    mean: Array = scores(mean_K, items).mean(axis=-1)
    return mean
