"""Intervals of shares, that is proportions of 0/1 outcomes, single or paired.

Resampling cannot show what never happened: if 4 of 4 items are correct, it gives 1.00 to 1.00. A
score interval instead contains the shares that could have produced the observed data: Wilson's
(1927) for one share, Tango's (1998, "Equivalence test and confidence interval for the difference in
proportions for the paired-sample design") for the difference of two on the same items. If none of n
items was lost, both allow for a loss of z^2 / (n + z^2), so scores and guards follow one rule.

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
    """Whether the score is the plain mean of a single statistic."""
    if statistics != 1:
        return False
    probe = np.array([[0.25], [0.5], [2.0]])
    return bool((reduce(probe, float(items)) == probe[:, 0]).all())


def is_share(reduce: Reduce, *sides_NS: Array) -> bool:
    """Whether the score is the plain mean of 0/1 outcomes (N, 1)."""
    items, statistics = sides_NS[0].shape
    return is_mean(reduce, statistics, items) and all(
        bool(np.isin(s, (0, 1)).all()) for s in sides_NS
    )


def normal(level: float) -> float:
    """The half-width of a two-sided normal interval in standard errors: 1.96 for 0.95."""
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2))


def effective(values_N: Array, members_N: NDArray[np.intp], level: float) -> float:
    """The effective sample size of items of which some share a cluster.

    The number of independent items whose mean has the variance of the clustered mean, corrected for
    the few degrees of freedom of the clusters (Korn and Graubard 1998, "Confidence intervals for
    proportions with small expected number of positive counts estimated from survey data"). If all
    items are equal, their correlation within a cluster is unknown; they are treated as copies of
    one another (Kish 1965).
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
    """Wilson's score interval for an observed `share` of `items`."""
    square = normal(level) ** 2
    centre = (share + square / (2 * items)) / (1 + square / items)
    inside = share * (1 - share) / items + square / (4 * items**2)
    half = math.sqrt(square * inside) / (1 + square / items)
    # Exact at the ends despite rounding: a share of 1 has the upper bound 1.
    low = 0.0 if share == 0 else max(0.0, centre - half)
    return low, 1.0 if share == 1 else min(1.0, centre + half)


def paired(gained: float, lost: float, items: float, level: float = 0.95) -> tuple[float, float]:
    """Tango's score interval for the difference of two paired shares.

    Of `items`, `gained` became correct and `lost` became wrong.
    """
    z = normal(level)
    low = _solve(lambda change: _tango(gained, lost, items, change) <= z)
    high = _solve(lambda change: _tango(gained, lost, items, change) <= -z)
    return low, high


def paired_error(gained: float, lost: float, items: float) -> float:
    """The standard error of a paired difference of shares, never 0.

    Adds one gained and one lost item (Bonett and Price 2012, "Adjusted Wald confidence interval for
    a difference of binomial proportions based on paired data"): that no item changed does not prove
    that none would.
    """
    up, down = (gained + 1) / (items + 2), (lost + 1) / (items + 2)
    return math.sqrt((up + down - (up - down) ** 2) / (items + 2))


def unseen(items: float, level: float = 0.95) -> float:
    """The upper bound on the share of an outcome that none of `items` showed."""
    return wilson(0.0, items, level)[1]


def of_alike(
    value: float, items: float, span: tuple[float, float], level: float = 0.95
) -> tuple[float, float]:
    """Bounds of a mean of values within `span` that was `value` on all of `items` items.

    An unseen share of items, up to `unseen`, may have any value in `span`. For 0 or 1 within (0, 1)
    this is Wilson's interval.
    """
    may = unseen(items, level)
    low, high = ((1 - may) * value + may * end for end in span)
    return low, high


def of_unvaried(
    value: float, sums_CS: Array, mean: bool, level: float = 0.95
) -> tuple[float, float]:
    """Bounds of a ratio or mean that is 0, or 1, in every resample of its units (sums (C, S)).

    A mean gets Wilson's interval. For other ratios, units without any count are ignored: ten items
    with nothing expected or predicted carry no information about F1.
    """
    count = len(sums_CS) if mean else int((sums_CS != 0).any(1).sum())
    return wilson(value, count, level) if count else (0.0, 1.0)


def _tango(gained: float, lost: float, items: float, change: float) -> float:
    """Tango's statistic: standard errors by which the difference exceeds a true `change`."""
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
    """The smallest difference in [-1, 1] from which `reached` is true, by bisection."""
    low, high = -1.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return (low + high) / 2
