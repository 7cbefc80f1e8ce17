"""Uncertainty of scores: intervals, paired tests, correction for many tests.

Shape legend: `N` items, `S` statistics of one item, `B` resamples, `C` clusters.

Every function takes per-item statistics (N, S) and a `reduce` that turns mean statistics (..., S)
and a number of items into scores (...), usually `functools.partial(metric.reduce, key)`; see
base.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from brulee.evaluation import confusions, detectable, differences, distances, resampling, shares
from brulee.evaluation.base import Array
from brulee.evaluation.resampling import TIE, Clusters, Reduce, Units

ENUMERATED: Final = 16  # up to this many differing items, all sign patterns are enumerated

# With fewer units no sign test reaches 5 %: 2 / 2**5 is above it.
FEWEST: Final = 6


class Interval(NamedTuple):
    """A score, its confidence bounds and its number of items."""

    value: float
    low: float
    high: float
    n: int


class Comparison(NamedTuple):
    """Two scores on the same items, with statistics of their difference.

    `wins`, `losses` and `ties` count items on which tuned is above, below or equal to base.
    `minimum_detectable` is the true difference that a test of this size finds in 80 % of cases. It
    is None if the spread is unknown, because no item differs and the score is not a proportion of
    correct items, and for fewer than six items (or clusters), for which no p is below 5 %.
    """

    base: float
    tuned: float
    difference: float
    low: float
    high: float
    p: float
    wins: int
    losses: int
    ties: int
    minimum_detectable: float | None


def interval(
    stats_NS: ArrayLike,
    reduce: Reduce,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    clusters: Clusters = None,
) -> Interval:
    """The score over all items and its interval; `clusters` (N,) are resampled whole, if given.

    The interval is Wilson's for a proportion of correct items, bootstrap for other scores; see
    `bounds`. Raises ValueError for no items, a value that is not finite, a wrong shape, or a level
    outside (0, 1).
    """
    stats = resampling.checked(stats_NS, "statistics")
    resampling.check_number(resamples)
    value = float(reduce(stats.sum(0) / len(stats), float(len(stats))))
    draw = partial(resampled, stats, reduce, resamples, seed, clusters)
    found = _bounds(stats, reduce, draw, resamples, clusters, level)
    return Interval(value, *found, len(stats))


def bounds(
    stats_NS: Array,
    reduce: Reduce,
    scores_B: Array,
    clusters: Clusters = None,
    level: float = 0.95,
) -> tuple[float, float]:
    """The interval of a score, given its resamples (`resampled`).

    A proportion of correct items gets Wilson's interval, with the effective number of independent
    items if there are clusters. A correlation of numbers gets Fisher's, a score of labels that of
    confusions.py, other scores bootstrap bounds, or the t-interval for a mean of fewer than eight
    units. If all resamples score 0 or all score 1 (`shares.of_unvaried`), or if a score bounded by
    [0, 1] is the same on all of two or more units, the bounds allow for as many differing units as
    those of a proportion do; for a correlation, in both directions. A mean of items that are never
    below 0 has no lower bound below 0. For a score that chance alone makes larger, zero is tested
    too (distances.py).
    """
    return _bounds(stats_NS, reduce, lambda: scores_B, len(scores_B), clusters, level)


def _bounds(
    stats_NS: Array,
    reduce: Reduce,
    draw: Callable[[], Array],
    resamples: int,
    clusters: Clusters,
    level: float,
) -> tuple[float, float]:
    """`bounds`; resamples only for an interval that depends on them."""
    _check_level(level)
    if shares.is_share(reduce, stats_NS):
        return _of_share(stats_NS, clusters, level)
    drawn = resampling.units(stats_NS, clusters)
    items, count = len(stats_NS), len(drawn.sizes)
    value = float(reduce(stats_NS.sum(0) / items, float(items)))
    span = resampling.span(reduce, stats_NS)
    signed = span is not None and span[0] < 0
    labels = confusions.are_confusions(stats_NS)
    is_mean = shares.is_mean(reduce, stats_NS.shape[1], items)
    if value in (0.0, 1.0) and bool((np.abs(draw() - value) <= TIE).all()):
        alike = [shares.of_alike(value, count, span, level)] if span and signed else []
        if labels:
            alike.append(confusions.unvaried_bounds(value, stats_NS, count, reduce, level))
        elif not signed:
            alike.append(shares.of_unvaried(value, drawn.sums, is_mean, level))
        return min(low for low, _ in alike), max(high for _, high in alike)
    pulls_C = resampling.pulls(drawn, reduce)
    if span and (differences.alike(pulls_C) or (signed and count == 1)):
        low, high = shares.of_alike(value, count, span, level)
        if labels:  # all right: still, of a rare label few items are
            other = confusions.unvaried_bounds(value, stats_NS, count, reduce, level)
            low, high = min(low, other[0]), max(high, other[1])
        return low, high
    if labels:
        low, high = confusions.bounds(drawn, reduce, level)
        low, high = min(low, value), max(high, value)
    elif 1 < count < resampling.FEW and is_mean:
        low, high = resampling.t_bounds(value, pulls_C, level)
    elif count > 1 and value > 0 and distances.is_distance(reduce, stats_NS.shape[1], items):
        low, high = distances.bounds(drawn, reduce, resamples, level)
        high = max(value, min(span[1], high)) if span else high
    elif signed and abs(value) < 1:
        low, high = resampling.fisher_bounds(value, pulls_C, level)
    else:
        low, high = resampling.drawn_bounds(draw(), value, pulls_C, level)
    if span and (labels or is_mean):
        low, high = max(span[0], low), min(span[1], high)
    elif is_mean and stats_NS.min() >= 0:  # a count or a length, of which none is below 0
        low = max(0.0, low)
    if labels:
        low, high = confusions.with_absent(low, high, stats_NS, count, reduce, level)
    return low, high


def _of_share(right_N1: Array, clusters: Clusters, level: float) -> tuple[float, float]:
    """Wilson's interval for a proportion of correct items, with the effective number of items."""
    members_N = resampling.units(right_N1, clusters).members
    worth = shares.effective(right_N1[:, 0], members_N, level)
    return shares.wilson(float(right_N1.mean()), worth, level)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1.")


def limits(reduce: Reduce, *sides_NS: Array) -> tuple[float, float]:
    """The least and the largest possible score, as far as its kind and its items tell.

    A ratio of counts, such as bits per byte, may be above 1 although that of no item is.
    """
    items, statistics = sides_NS[0].shape
    limited = (
        confusions.are_confusions(*sides_NS)
        or shares.is_mean(reduce, statistics, items)
        or distances.is_distance(reduce, statistics, items)
    )
    return (resampling.span(reduce, *sides_NS) if limited else None) or resampling.UNLIMITED


def resampled(
    stats_NS: ArrayLike,
    reduce: Reduce,
    resamples: int = 2000,
    seed: int = 0,
    clusters: Clusters = None,
) -> Array:
    """The score in each of `resamples` bootstrap resamples of the items or clusters: (B,).

    The same seed gives the same resamples for every score of the same items. Raises as `interval`.
    """
    sums_CS, sizes_C, _ = resampling.units(resampling.checked(stats_NS, "statistics"), clusters)
    found = resampling.draws(len(sizes_C), resamples, seed)
    return np.concatenate([resampling.score(w @ sums_CS, w @ sizes_C, reduce) for w in found])


def compare(
    base_NS: ArrayLike,
    tuned_NS: ArrayLike,
    reduce: Reduce,
    resamples: int = 2000,
    seed: int = 0,
    clusters: Clusters = None,
    swaps: int | None = None,
) -> Comparison:
    """Base against tuned on the same items: interval of the difference, paired randomisation test.

    The 95 % interval is Tango's for proportions of correct items; for others see
    `differences.of_scores`. p is two-sided and comes from swapping base and tuned at random per
    item (Noreen 1989), `swaps` times (default: `resamples`): (c + 1) / (B + 1), or exact over all
    patterns if up to 16 items differ. For a mean of 0/1 outcomes without clusters it is always
    exact (McNemar's test), for correlations and scores of labels a t-test's. Clusters are drawn and
    swapped whole.
    For a score that is not a mean, such as a ratio of counts, the test swaps each item's
    first-order contribution to the score of its side. Swapping the counts would test whether the
    two sides have the same distribution: a model that makes a tenth as many claims would differ
    from one with the same proportion correct.
    Raises ValueError for no items, a value that is not finite, or shapes that differ.
    """
    base = resampling.checked(base_NS, "base statistics")
    tuned = resampling.checked(tuned_NS, "tuned statistics")
    if base.shape != tuned.shape:
        raise ValueError(
            f"base statistics have shape {base.shape}, tuned ones {tuned.shape}; "
            "a paired comparison needs the same items on both sides."
        )
    resampling.check_number(resamples)
    before, after = resampling.units(base, clusters), resampling.units(tuned, clusters)
    scores = [_whole(side, reduce) for side in (before, after)]
    gains_N = reduce(tuned, 1.0) - reduce(base, 1.0)
    wins, losses = int((gains_N > TIE).sum()), int((gains_N < -TIE).sum())
    share = shares.is_share(reduce, base, tuned)
    found = (
        differences.of_shares(base, tuned, before.members)
        if share
        else differences.of_scores((base, tuned), (before, after), reduce, resamples, seed)
    )
    exact = share and clusters is None
    if exact:
        p = mcnemar(base[:, 0], tuned[:, 0])
    elif found.p is not None:
        p = found.p
    else:
        p = randomisation(added(after, reduce) - added(before, reduce), swaps or resamples, seed)
    count = len(before.sizes)
    least = None
    if exact and count >= FEWEST:
        least = detectable.of_share(wins, losses, count)
    elif count >= FEWEST and found.error > 0:
        # The error of grouped shares contains the t of their groups.
        least = detectable.of_mean(found.error, inf if share else count)
    return Comparison(
        scores[0], scores[1], scores[1] - scores[0], found.low, found.high, p,
        wins, losses, len(base) - wins - losses, least,
    )  # fmt: skip


def mcnemar(base_correct: ArrayLike, tuned_correct: ArrayLike) -> float:
    """McNemar's exact two-sided p for paired 0/1 outcomes (N,): a binomial test of discordant ones.

    Raises ValueError for shapes that differ or values other than 0 and 1.
    """
    base, tuned = np.asarray(base_correct), np.asarray(tuned_correct)
    if base.shape != tuned.shape or base.ndim != 1:
        raise ValueError(f"outcomes have shapes {base.shape}, {tuned.shape}; both must be (N,).")
    if not (np.isin(base, (0, 1)).all() and np.isin(tuned, (0, 1)).all()):
        raise ValueError("outcomes must be 0 or 1.")
    from scipy.special import bdtr

    gained, lost = int((tuned > base).sum()), int((tuned < base).sum())
    return min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979).

    Raises ValueError for a value outside [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values must lie between 0 and 1.")
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1.0, p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(stepped)
    return [float(a) for a in adjusted]


def randomisation(shares_C: Array, swaps: int, seed: int = 0) -> float:
    """The two-sided p of a difference under random signs of each unit's contribution to it.

    The proportion of sign patterns whose absolute difference is at least as large; exact if up to
    16 units contribute.
    """
    # Rounding errors of units that do not differ add up to less than a tie.
    differing_C = shares_C[np.abs(shares_C) > TIE / len(shares_C)]
    observed_sum, count = float(differing_C.sum()), len(differing_C)
    observed = abs(observed_sum)

    def extremes(swapped_BC: Array) -> int:
        left_B = observed_sum - 2.0 * (swapped_BC @ differing_C)
        return int((np.abs(left_B) >= observed - TIE).sum())

    if count <= ENUMERATED:
        patterns = np.arange(1 << count)[:, None] >> np.arange(count) & 1
        return extremes(patterns.astype(np.float64)) / (1 << count)
    rng = np.random.default_rng([seed, 1])
    reached = sum(
        extremes(rng.integers(2, size=(rows, count), dtype=np.int8).astype(np.float64))
        for rows in resampling.chunks(count, swaps)
    )
    return (reached + 1) / (swaps + 1)


def added(drawn: Units, reduce: Reduce) -> Array:
    """Each unit's first-order contribution to the score: (C,); they sum to the score.

    A unit's share of all items times the score, plus its jackknife influence. For a mean these are
    exactly its terms.
    """
    by_size_C: Array = _whole(drawn, reduce) * drawn.sizes / drawn.sizes.sum()
    return by_size_C + resampling.pulls(drawn, reduce)


def _whole(drawn: Units, reduce: Reduce) -> float:
    return float(resampling.score(drawn.sums.sum(0), drawn.sizes.sum(), reduce))
