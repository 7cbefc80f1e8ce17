"""Intervals of scores that chance alone makes larger, such as a calibration error.

A sum of absolute means is above zero for a model that is perfectly calibrated, and resampling adds
its own noise to that of the items: its percentiles lie beyond the score, which lies beyond the
truth.

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
    """Whether a score is a size of the mean statistics: the same of -x, twice as large of 2x."""
    probe_S = np.linspace(-0.7, 1.0, statistics)
    with np.errstate(all="ignore"):  # of scores that no negative mean can have
        once, less, twice = (float(reduce(by * probe_S, float(items))) for by in (1.0, -1.0, 2.0))
    return once > 0 and math.isclose(once, less) and math.isclose(twice, 2 * once)


def bounds(drawn: Units, reduce: Reduce, resamples: int, level: float) -> tuple[float, float]:
    """The sizes that a test at this level does not refuse, 0 included where it is one of them.

    Tested are means in the direction of those that were found, shorter or longer: would such ones,
    with the noise that resampling shows, often have given a score as large, or as small? (The
    bootstrap's test inversion, Efron and Tibshirani 1993, chapters 12 and 16.)
    """
    items, count = float(drawn.sizes.sum()), len(drawn.sizes)
    mean_S = drawn.sums.sum(0) / items
    found = float(reduce(mean_S, items))
    # Resampling few units shows too little noise: see `resampling.drawn_bounds`.
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


def _noise(drawn: Units, mean_S: Array, resamples: int) -> Array:
    """How far the means of resamples lie from those of all units (B, S)."""
    found = [
        (weights @ drawn.sums) / (weights @ drawn.sizes)[:, None] - mean_S
        for weights in resampling.draws(len(drawn.sizes), resamples, seed=0)
    ]
    return np.concatenate(found)


def _first(holds: Callable[[float], bool]) -> float:
    """The least stretch, from 0 on, from which on `holds` does."""
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
