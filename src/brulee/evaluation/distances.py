"""Intervals of scores that noise can only increase, such as a calibration error.

A sum of absolute means is above zero even for a perfectly calibrated model, and resampling adds its
noise to that of the items: its percentiles are above the score, which is above the true value.

Shape legend: `N` items, `S` statistics of one item, `B` resamples, `C` units that are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from brulee.evaluation import resampling, shares
from brulee.evaluation.base import Array
from brulee.evaluation.resampling import Reduce, Units

_HALVINGS: Final = 30
_DOUBLINGS: Final = 12


def is_distance(reduce: Reduce, statistics: int, items: int) -> bool:
    """Whether the score is a norm of the mean statistics: the same for -x, doubled for 2x."""
    probe_S = np.linspace(-0.7, 1.0, statistics)
    with np.errstate(all="ignore"):  # some scores are undefined for negative means
        once, less, twice = (float(reduce(by * probe_S, float(items))) for by in (1.0, -1.0, 2.0))
    return once > 0 and math.isclose(once, less) and math.isclose(twice, 2 * once)


def bounds(drawn: Units, reduce: Reduce, resamples: int, level: float) -> tuple[float, float]:
    """The true scores that a test at this level does not reject; these may include 0.

    Inverts a bootstrap test (Efron and Tibshirani 1993, chapters 12 and 16). Candidates are the
    observed mean statistics, scaled down or up: would these, with the noise that resampling shows,
    often have given a score as large, or as small, as the observed one?
    """
    items, count = float(drawn.sizes.sum()), len(drawn.sizes)
    mean_S = drawn.sums.sum(0) / items
    found = float(reduce(mean_S, items))
    # Resampling underestimates the noise of few units: see `resampling.drawn_bounds`.
    wider = resampling.t_quantile(count, level) / shares.normal(level)
    noise_BS = _noise(drawn, mean_S, resamples) * wider * math.sqrt(count / (count - 1))
    beyond = (1 - level) / 2 * resamples

    def scores(stretch: float) -> Array:
        return reduce(stretch * mean_S + noise_BS, items)

    def too_short(stretch: float) -> bool:
        return int((scores(stretch) >= found - resampling.TIE).sum()) <= beyond

    def long_enough(stretch: float) -> bool:
        return int((scores(stretch) <= found + resampling.TIE).sum()) <= beyond

    low = _first(lambda stretch: not too_short(stretch))
    return min(1.0, low) * found, max(1.0, _first(long_enough)) * found


def change_bounds(
    before: Units, after: Units, reduce: Reduce, resamples: int, level: float
) -> tuple[float, float]:
    """Bounds of the difference of two such scores of the same units.

    Chance enlarges both sides, and the smaller one more, so that the difference is off in a known
    direction. The bounds reach the jackknife's standard error times t from the observed difference
    and from the one of median-unbiased scores (Andrews 1993, "Exactly median-unbiased estimation of
    first order autoregressive/unit root models", has the method: the value under which a score as
    large as the observed one is as likely as a smaller one).
    """
    sides = (before, after)
    items, count = float(before.sizes.sum()), len(before.sizes)
    found = [float(reduce(side.sums.sum(0) / items, items)) for side in sides]
    even = [_median_unbiased(side, reduce, resamples) for side in sides]
    pulls_C = resampling.pulls(after, reduce) - resampling.pulls(before, reduce)
    half = resampling.t_quantile(count, level) * resampling.spread(pulls_C)
    ends = found[1] - found[0], even[1] - even[0]
    return min(ends) - half, max(ends) + half


def _median_unbiased(drawn: Units, reduce: Reduce, resamples: int) -> float:
    """The true score under which resampling's noise gives the observed one at its median."""
    items, count = float(drawn.sizes.sum()), len(drawn.sizes)
    mean_S = drawn.sums.sum(0) / items
    found = float(reduce(mean_S, items))
    noise_BS = _noise(drawn, mean_S, resamples) * math.sqrt(count / (count - 1))

    def large_enough(stretch: float) -> bool:
        return float(np.median(reduce(stretch * mean_S + noise_BS, items))) >= found

    return min(1.0, _first(large_enough)) * found


def _noise(drawn: Units, mean_S: Array, resamples: int) -> Array:
    """The means of resamples minus the mean of all units: (B, S)."""
    found = [
        (weights @ drawn.sums) / (weights @ drawn.sizes)[:, None] - mean_S
        for weights in resampling.draws(len(drawn.sizes), resamples, seed=0)
    ]
    return np.concatenate(found)


def _first(holds: Callable[[float], bool]) -> float:
    """The smallest non-negative stretch from which `holds` is true, by bisection."""
    if holds(0.0):
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_DOUBLINGS):
        if holds(high):
            break
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
