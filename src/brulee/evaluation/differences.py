"""Bounds of the difference of two scores on the same items.

Shape legend: `N` items, `S` statistics of one item, `B` resamples, `C` units that are drawn.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from brulee.evaluation import confusions, distances, resampling, shares
from brulee.evaluation.base import Array
from brulee.evaluation.resampling import TIE, Reduce, Units

_LEVEL: Final = 0.95


class Difference(NamedTuple):
    """95 % bounds, the standard error of the difference (0 if unknown), and p from it, if used."""

    low: float
    high: float
    error: float
    p: float | None


def of_shares(base_N1: Array, tuned_N1: Array, members_N: np.typing.NDArray[np.intp]) -> Difference:
    """Tango's interval of the difference of two proportions of correct items."""
    items = len(base_N1)
    changes_N = (tuned_N1 - base_N1)[:, 0]
    part = shares.effective(changes_N, members_N, _LEVEL) / items
    gained, lost = float((changes_N > 0).sum() * part), float((changes_N < 0).sum() * part)
    low, high = shares.paired(gained, lost, items * part)
    return Difference(low, high, shares.paired_error(gained, lost, items * part), None)


def of_scores(
    sides: tuple[Array, Array],
    drawn: tuple[Units, Units],
    reduce: Reduce,
    resamples: int,
    seed: int,
) -> Difference:
    """Bounds of the difference of two other scores.

    A difference over fewer than eight units, or of two correlations or scores of labels, gets the
    t-interval with the jackknife's standard error, for labels widened by what no item showed
    (confusions.py). Correlations are far from a sum over items, so that their p, too, is a t-test's
    with that error: it never contradicts the interval. Others are resampled, with resamples shared
    by both (Koehn 2004); an error that chance makes larger, such as a calibration error, gets
    bounds from those of its sides (distances.py).
    """
    before, after = drawn
    count, statistics = len(before.sizes), sides[0].shape[1]
    ends = [float(resampling.score(side.sums.sum(0), side.sizes.sum(), reduce)) for side in drawn]
    value = ends[1] - ends[0]
    pulls_C = resampling.pulls(after, reduce) - resampling.pulls(before, reduce)
    span = resampling.span(reduce, *sides)
    most = span[1] - span[0] if span else math.inf  # largest possible change of the score
    labels = confusions.are_confusions(*sides)
    error = (
        confusions.error_of_change(before, after, reduce) if labels else resampling.spread(pulls_C)
    )
    error = error if error > TIE else 0.0  # units that differ only by rounding have no spread
    by_error = labels or (span is not None and span[0] < 0)
    differing = int((before.sums != after.sums).any(1).sum())
    half = resampling.t_quantile(count, _LEVEL) * error
    # A single unit shows no spread, unless it is simply right or wrong, or did not change.
    still = count == 1 and ({*ends} <= {0.0, 1.0} or abs(value) <= TIE)
    if span and (still or alike(pulls_C)):
        low, high = shares.of_alike(value, count, (-most, most))
        # A correlation is the same without any one item, too, if few or none have the other label.
        if labels and (differing or confusions.absent(sides[0]).any()):
            low, high = max(-most, min(low, value - half)), min(most, max(high, value + half))
    elif count > 1 and by_error:
        low, high = max(-most, value - half), min(most, value + half)
    elif count > 1 and distances.is_distance(reduce, statistics, len(sides[0])):
        low, high = distances.change_bounds(before, after, reduce, resamples, _LEVEL)
    elif 1 < count < resampling.FEW:
        low, high = max(-most, value - half), min(most, value + half)
    else:
        differences_B = _paired_bootstrap(before, after, reduce, resamples, seed)
        low, high = resampling.drawn_bounds(differences_B, value, pulls_C, _LEVEL)
    if span and not alike(pulls_C) and shares.is_mean(reduce, statistics, len(sides[0])):
        low, high = _with_the_unseen(low, high, sides[1] - sides[0], count)
    if not by_error or error == 0:
        return Difference(low, high, error, None)
    p = resampling.t_p(value, error, count, differing)
    if p >= 1 - _LEVEL:  # an interval holds what its test does not reject
        low, high = min(low, 0.0), max(high, 0.0)
    return Difference(low, high, error, p)


def alike(pulls_C: Array) -> bool:
    """Whether there are two or more units, all with the same value, so that resamples agree."""
    return len(pulls_C) > 1 and bool((np.abs(pulls_C) <= TIE / len(pulls_C)).all())


def _with_the_unseen(low: float, high: float, changes_N1: Array, count: int) -> tuple[float, float]:
    """Bounds of a mean change, extended for losses and gains that no unit showed.

    If no unit lost, neither resampling nor the few gains show how much others may lose.
    """
    may = shares.unseen(count)
    if not (changes_N1 < -TIE).any() and low <= TIE:
        low = min(low, -may)
    if not (changes_N1 > TIE).any() and high >= -TIE:
        high = max(high, may)
    return low, high


def _paired_bootstrap(
    before: Units, after: Units, reduce: Reduce, resamples: int, seed: int
) -> Array:
    """Tuned minus base in each resample: (B,)."""
    differences = []
    for weights in resampling.draws(len(before.sizes), resamples, seed):
        sizes = weights @ before.sizes
        tuned, base = weights @ after.sums, weights @ before.sums
        differences.append(
            resampling.score(tuned, sizes, reduce) - resampling.score(base, sizes, reduce)
        )
    return np.concatenate(differences)
