"""Scores over several phrasings of the same items, and how far the phrasings lie apart.

Reported are the mean (Wei et al. 2021, with the standard deviation) and the median with quartiles
(Sanh et al. 2021) of the phrasings' scores. What is drawn and swapped is an item with all its
phrasings, never a phrasing of it: the phrasings are those there are, the items are a sample.

The standard deviation of scores over few items is large by chance alone, even where no phrasing is
better than another. `spread` is freed of that: from the variance of the scores is taken what
resampling the items adds to it.

Shape legend: `N` items, `C` clusters, `P` phrasings, `S` statistics of an item, `K` those under all
phrasings, `B` resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Final, NamedTuple

import numpy as np

from brulee.evaluation import resampling, shares
from brulee.evaluation.answers import Answer, statistics_array
from brulee.evaluation.base import Array, Metric
from brulee.evaluation.resampling import TIE, Clusters, Reduce

_NOISE: Final = 2  # how often a resample has the items' chance in it: of the items, of the draw


class Table(NamedTuple):
    """A score's statistics over phrasings.

    `stats` (N, ...) with `reduce` give the mean over phrasings; `each` (N, K) with `scores`, which
    makes (..., P) of means (..., K), every phrasing's. `answers` (N) are those under the first.
    """

    stats: Array
    reduce: Reduce
    each: Array
    scores: Callable[[Array, float | Array], Array]
    answers: Sequence[Answer] = ()


class Spread(NamedTuple):
    """Every phrasing's score (P); their standard deviation, and that freed of the items' chance."""

    scores: tuple[float, ...]
    deviation: float
    spread: float


class Change(NamedTuple):
    """The spread of two models over the same phrasings of the same items, tuned minus base."""

    base: Spread
    tuned: Spread
    difference: float
    low: float
    high: float


def by_phrasing(answers: Sequence[Answer]) -> list[list[Answer]]:
    """The answers under each phrasing; one list where no item has several.

    Raises ValueError where not every phrasing has the same items in the same order.
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

    Of a score that is the plain mean of its items' an item counts with the mean over its phrasings;
    of any other the phrasings' scores are averaged. Of a single phrasing all is as its metric says.
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
    sides: Sequence[Sequence[Sequence[Answer]]], metrics: Sequence[Sequence[Metric]]
) -> Iterator[tuple[str, Metric, list[Table]]]:
    """Every score by its key, once, with its metric under the first phrasing and each side's table.

    A side is a model's answers under each phrasing, and `metrics` are those of each phrasing. A
    score is of the items that have a part in it, and left out where none has.
    """
    by_key = {key: each for each in zip(*metrics, strict=True) for key in each[0].keys}
    for key, each in by_key.items():
        own = [[[a for a in p if key in a.statistics] for p in parts] for parts in sides]
        if all(parts[0] for parts in own):
            yield key, each[0], [table(parts, key, each) for parts in own]


def change(base: Table, tuned: Table, resamples: int, of: Clusters = None, seed: int = 0) -> Change:
    """Both models' spread over two or more phrasings, and its change with a 95% interval.

    The interval is of percentiles of paired resamples, taken out for few items (Hesterberg 2015).
    """
    before, after = (_drawn(one, resamples, seed, of) for one in (base, tuned))
    value = after.found.spread - before.found.spread
    count = len(resampling.units(base.each, of).sizes)
    low, high = _bounds(after.spreads - before.spreads, value, count)
    return Change(before.found, after.found, value, low, high)


class _Drawn(NamedTuple):
    """What was found, and `spreads` (B) of the resamples, freed of chance."""

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
    # One unit alone shows no chance at all.
    chance = _chance(scores_BP) * (count / (count - 1) if count > 1 else 0.0)
    spreads_B = np.sqrt(np.maximum(0.0, scores_BP.var(axis=1, ddof=1) - _NOISE * chance))
    spread = math.sqrt(max(0.0, variance - chance))
    found = Spread(tuple(map(float, scores_P)), math.sqrt(variance), spread)
    return _Drawn(found, spreads_B)


def _chance(scores_BP: Array) -> float:
    """The variance over phrasings that the draw of the items makes by itself."""
    apart_BP = scores_BP - scores_BP.mean(axis=1, keepdims=True)
    total: float = apart_BP.var(axis=0).sum() / (scores_BP.shape[1] - 1)
    return total


def _bounds(drawn_B: Array, value: float, count: int) -> tuple[float, float]:
    from scipy.special import ndtr

    if count == 1 or float(np.ptp(drawn_B)) <= TIE:
        return value, value
    reach = math.sqrt(count / (count - 1)) * resampling.t_quantile(count, 0.95)
    low, high = np.quantile(drawn_B, [float(ndtr(-reach)), float(ndtr(reach))])
    return min(float(low), value), max(float(high), value)


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
