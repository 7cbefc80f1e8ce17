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

_HALVINGS: Final = 16  # resampling is not more exact than 1e-4
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
    return _Side(drawn, reduce, resamples).bounds(level)


def change_bounds(
    before: Units, after: Units, reduce: Reduce, resamples: int, level: float
) -> tuple[float, float]:
    """Bounds of the difference of two such scores of the same units.

    Chance enlarges both sides, and the smaller one more, so that the difference is off in a known
    direction. The bounds reach the jackknife's standard error times t from the observed difference
    and from the one of median-unbiased scores (Andrews 1993, "Exactly median-unbiased estimation of
    first order autoregressive/unit root models", has the method: the value under which a score as
    large as the observed one is as likely as a smaller one). If one side may be 0 by its own
    bounds, they hold the change in which it is 0 and the other side at its upper bound: of two
    items a bin, more than half of an error may be chance's.
    """
    sides = [_Side(drawn, reduce, resamples) for drawn in (before, after)]
    even = [side.median_unbiased() for side in sides]
    pulls_C = resampling.pulls(after, reduce) - resampling.pulls(before, reduce)
    half = resampling.t_quantile(len(before.sizes), level) * resampling.spread(pulls_C)
    ends = sides[1].score - sides[0].score, even[1] - even[0]
    (least_before, most_before), (least_after, most_after) = (side.bounds(level) for side in sides)
    low, high = min(ends) - half, max(ends) + half
    low = min(low, -most_before) if least_after == 0 else low
    return low, max(high, most_after) if least_before == 0 else high


class _Side:
    """A score of some units, and what it would be if their mean were shorter or longer."""

    def __init__(self, drawn: Units, reduce: Reduce, resamples: int) -> None:
        self._reduce, self._items = reduce, float(drawn.sizes.sum())
        self._mean_S = drawn.sums.sum(0) / self._items
        self._noise_BS = _noise(drawn, self._mean_S, resamples)
        self._count = len(drawn.sizes)
        self.score = float(reduce(self._mean_S, self._items))

    def bounds(self, level: float) -> tuple[float, float]:
        """See `bounds`."""
        # Resampling underestimates the noise of few units: see `resampling.drawn_bounds`.
        wider = resampling.t_quantile(self._count, level) / shares.normal(level)
        scores = self._scores(wider)
        beyond = (1 - level) / 2 * len(self._noise_BS)

        def long_enough(stretch: float) -> bool:
            return int((scores(stretch) >= self.score - resampling.TIE).sum()) > beyond

        def too_long(stretch: float) -> bool:
            return int((scores(stretch) <= self.score + resampling.TIE).sum()) <= beyond

        low, high = _first(long_enough), _first(too_long)
        return min(1.0, low) * self.score, max(1.0, high) * self.score

    def median_unbiased(self) -> float:
        """The true score under which resampling's noise gives the observed one at its median."""
        scores = self._scores(1.0)
        found = _first(lambda stretch: float(np.median(scores(stretch))) >= self.score)
        return min(1.0, found) * self.score

    def _scores(self, wider: float) -> Callable[[float], Array]:
        noise_BS = self._noise_BS * wider * math.sqrt(self._count / (self._count - 1))
        return lambda stretch: self._reduce(stretch * self._mean_S + noise_BS, self._items)


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
