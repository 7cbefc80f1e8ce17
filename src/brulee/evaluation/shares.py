"""Intervals of shares: of outcomes that are 0 or 1, alone or paired.

Resampling cannot see what never happened: of 4 items that are all right it finds 1.00 to 1.00. A
score interval asks instead which shares could have given what was seen. Wilson's (1927) does so for
one share and Tango's (1998, "Equivalence test and confidence interval for the difference in
proportions for the paired-sample design") for the difference of two on the same items. Where no
item of n was lost both allow for z^2 / (n + z^2), and so one rule holds for scores and for guards.

Shape legend: `N` items.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from brulee.evaluation.base import Array
from brulee.evaluation.resampling import Reduce, t_quantile

_HALVINGS: Final = 60


def is_mean(reduce: Reduce, statistics: int, items: int) -> bool:
    """Whether a score is the plain mean of one statistic."""
    if statistics != 1:
        return False
    probe = np.array([[0.25], [0.5], [2.0]])
    return bool((reduce(probe, float(items)) == probe[:, 0]).all())


def is_share(reduce: Reduce, *sides_NS: Array) -> bool:
    """Whether the score is the plain mean (N, 1) of outcomes that are 0 or 1."""
    items, statistics = sides_NS[0].shape
    return is_mean(reduce, statistics, items) and all(
        bool(np.isin(s, (0, 1)).all()) for s in sides_NS
    )


def normal(level: float) -> float:
    """How many standard errors a two-sided normal interval reaches: 1.96 for 0.95."""
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2))


def effective(values_N: Array, members_N: NDArray[np.intp], level: float) -> float:
    """How many independent items tell as much as these, of which some share a cluster.

    The number whose mean would vary as that of the clusters does, for as few clusters as there are
    (Korn and Graubard 1998, "Confidence intervals for proportions with small expected number of
    positive counts estimated from survey data"). Where all items are alike, nothing shows how alike
    those of a cluster are; they are taken for one another's copies (Kish 1965).
    """
    sizes_C = np.bincount(members_N).astype(np.float64)
    items, count = float(sizes_C.sum()), len(sizes_C)
    if count == items:
        return items
    mean = float(values_N.mean())
    variance = float(((values_N - mean) ** 2).mean())
    found = items**2 / float((sizes_C**2).sum())
    if variance > 0 and count > 1:
        sums_C = np.bincount(members_N, weights=values_N)
        of_mean = count / (count - 1) * float(((sums_C - mean * sizes_C) ** 2).sum()) / items**2
        found = min(items, variance / of_mean) if of_mean > 0 else items
    return found * (normal(level) / t_quantile(count, level)) ** 2


def wilson(share: float, items: float, level: float = 0.95) -> tuple[float, float]:
    """The shares that a test at this level does not refuse, of so many items seen."""
    square = normal(level) ** 2
    centre = (share + square / (2 * items)) / (1 + square / items)
    inside = share * (1 - share) / items + square / (4 * items**2)
    half = math.sqrt(square * inside) / (1 + square / items)
    # Without rounding's last digits: all right is never less than 1.
    low = 0.0 if share == 0 else max(0.0, centre - half)
    return low, 1.0 if share == 1 else min(1.0, centre + half)


def paired(gained: float, lost: float, items: float, level: float = 0.95) -> tuple[float, float]:
    """The differences of two shares that a test does not refuse, where so many items changed.

    `gained` are right after and not before, `lost` the other way round, of `items`.
    """
    z = normal(level)
    low = _solve(lambda change: _tango(gained, lost, items, change) <= z)
    high = _solve(lambda change: _tango(gained, lost, items, change) <= -z)
    return low, high


def paired_error(gained: float, lost: float, items: float) -> float:
    """The standard error of a paired difference of shares, never 0.

    One more item each way is counted (Bonett and Price 2012, "Adjusted Wald confidence interval for
    a difference of binomial proportions based on paired data"): that none changed is no proof that
    none would.
    """
    up, down = (gained + 1) / (items + 2), (lost + 1) / (items + 2)
    return math.sqrt((up + down - (up - down) ** 2) / (items + 2))


def unseen(items: float, level: float = 0.95) -> float:
    """The largest share of items that may do what none of so many did."""
    return wilson(0.0, items, level)[1]


def of_alike(
    value: float, items: float, span: tuple[float, float], level: float = 0.95
) -> tuple[float, float]:
    """Bounds of a mean of values within `span` that was the same on all of so many items.

    The largest share of items that may be otherwise may have any value. Of 0 and 1 within (0, 1)
    it is Wilson's interval.
    """
    may = unseen(items, level)
    low, high = ((1 - may) * value + may * end for end in span)
    return low, high


def of_unvaried(
    value: float, stats_NS: Array, sums_CS: Array, reduce: Reduce, level: float = 0.95
) -> tuple[float, float]:
    """Bounds of a score that is 0 or 1 in every resample of its units, of summed statistics (C, S).

    A mean has Wilson's interval. Of confusion counts the largest share of items that may be
    otherwise may fall into any cell: a model that always says the same has a correlation of 0, and
    may have another. Of other ratios a unit without any count takes no part: ten items of which
    none is wanted or found say nothing of F1.
    """
    items, count = len(stats_NS), len(sums_CS)
    cells = stats_NS.shape[1]
    if are_confusions(stats_NS):
        may = unseen(count, level)
        mixed = (1 - may) * stats_NS.mean(0) + may * np.eye(cells)
        scores = reduce(mixed, float(items))
        return min(value, float(scores.min())), max(value, float(scores.max()))
    if not is_mean(reduce, cells, items):
        count = int((sums_CS != 0).any(1).sum())
    return wilson(value, count, level) if count else (0.0, 1.0)


def are_confusions(stats_NS: Array) -> bool:
    """Whether each item is counted in one cell of K labels by K + 1 (classification.py)."""
    cells = stats_NS.shape[1]
    labels = math.isqrt(cells)
    alone = (stats_NS.max(1) == 1).all() and (np.abs(stats_NS).sum(1) == 1).all()
    return labels > 1 and cells == labels * (labels + 1) and bool(alone)


def _tango(gained: float, lost: float, items: float, change: float) -> float:
    """How many standard errors the difference lies above `change`, were that the true one."""
    two, rest = 2 * items, -lost * change * (1 - change)
    linear = (two - gained + lost) * change - gained - lost
    root = math.sqrt(max(0.0, linear**2 - 4 * two * rest))
    losing = max(0.0, (root - linear) / (2 * two))
    variance = items * (2 * losing + change * (1 - change))
    above = gained - lost - items * change
    if variance <= 0:
        return math.copysign(math.inf, above) if above else 0.0
    return above / math.sqrt(variance)


def _solve(reached: Callable[[float], bool]) -> float:
    """The least difference in [-1, 1] from which on `reached` holds."""
    low, high = -1.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return (low + high) / 2
