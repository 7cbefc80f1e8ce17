"""Bootstrap resampling of items or clusters, the jackknife, and bounds from resampled scores.

Shape legend: `N` items, `S` statistics of one item, `B` resamples, `C` clusters (units that are
drawn whole; without clusters every item is one).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brulee.evaluation.base import Array

Reduce: TypeAlias = Callable[[Array, float | Array], Array]
Clusters: TypeAlias = Sequence[Any] | NDArray[Any] | None

TIE: Final = 1e-10  # smaller differences count as rounding
UNLIMITED: Final = (-math.inf, math.inf)  # the range of a score of which none is known
_CHUNK: Final = 1 << 22  # entries of the largest (B, N) array held at once
FEW: Final = 8  # with fewer units, resamples vary too little to bound a mean or a difference
_FAR: Final = 10.0  # a statistic that no correlation has
_TRIED: Final = 128  # random mixes of statistics; many give a correlation below 0
_KEPT: Final = 1 << 25  # entries of the resamples that are kept: 64 MB for 10,000 items
_LONG: Final = 1000  # from this many units on, resamples are counted one by one, in the CPU cache


class Units(NamedTuple):
    """The resampled units: sums of statistics (C, S), sizes (C,) and the unit of each item (N,)."""

    sums: Array
    sizes: Array
    members: NDArray[np.intp]


def checked(values: ArrayLike, what: str) -> Array:
    """The statistics as (N, S). Raises ValueError for no items, NaN, infinity or a wrong shape."""
    stats = np.asarray(values, dtype=np.float64)
    if stats.ndim != 2 or not stats.size:
        raise ValueError(f"{what} have shape {stats.shape}; they must be (N, S) with N, S >= 1.")
    bad = ~np.isfinite(stats).all(axis=1)
    if bad.any():
        raise ValueError(f"{what} hold a NaN or an infinity, first in item {int(bad.argmax())}.")
    return stats


def units(stats_NS: Array, clusters: Clusters) -> Units:
    """The resampled units: clusters, given the cluster of each item (N,), or items if None.

    Raises ValueError for another number of clusters than of items.
    """
    if clusters is None:
        return Units(stats_NS, np.ones(len(stats_NS)), np.arange(len(stats_NS)))
    names = np.asarray(clusters)
    if names.shape != (len(stats_NS),):
        raise ValueError(f"clusters have shape {names.shape}; it must be ({len(stats_NS)},).")
    _, members = np.unique(names, return_inverse=True)
    sums = np.zeros((members.max() + 1, stats_NS.shape[1]))
    np.add.at(sums, members, stats_NS)
    return Units(sums, np.bincount(members).astype(np.float64), members)


def score(sums: Array, sizes: Array, reduce: Reduce) -> Array:
    """The score for summed statistics (..., S) over `sizes` (...) items: (...)."""
    return reduce(sums / np.asarray(sizes)[..., None], sizes)


def inside(stats_NS: Array, reduce: Reduce) -> bool:
    """Whether every single item scores between 0 and 1."""
    return _within(reduce(stats_NS, 1.0))


def _within(scores: Array) -> bool:
    return bool(((scores >= 0) & (scores <= 1)).all())


def span(reduce: Reduce, *sides_NS: Array) -> tuple[float, float] | None:
    """The range of the score, inferred from the items: (0, 1), (-1, 1), or None if unknown.

    A correlation is 0 for any single item, but so is a proportion with nothing correct; they differ
    in whether other mixes of statistics score below 0. None if an item scores outside [0, 1],
    unless no statistic scores beyond -1 and 1 (Spearman's, of which an item holds an influence).
    """
    if _is_clipped(reduce, sides_NS[0]):
        return -1.0, 1.0
    alone = [reduce(side, 1.0) for side in sides_NS]
    if not all(map(_within, alone)):
        return None
    if any(one.any() for one in alone):
        return 0.0, 1.0
    tried = _mixes(sides_NS[0].shape[1])
    with np.errstate(all="ignore"):  # a mix that no item has may have no defined score
        negative = bool((reduce(tried, float(len(sides_NS[0]))) < 0).any())
    return (-1.0 if negative else 0.0), 1.0


@cache
def _mixes(statistics: int) -> Array:
    """Mixes of so many statistics: (T, S)."""
    if statistics == 1:
        return np.array([[-0.5]])
    return np.random.default_rng(0).dirichlet(np.ones(statistics), _TRIED)


def _is_clipped(reduce: Reduce, stats_NS: Array) -> bool:
    """Whether the score of a single statistic is never beyond -1 and 1."""
    if stats_NS.shape[1] != 1:
        return False
    with np.errstate(all="ignore"):  # some scores are undefined for negative means
        far = reduce(np.array([[-_FAR], [_FAR]]), float(len(stats_NS)))
    return bool((far == [-1.0, 1.0]).all())


def draws(count: int, resamples: int, seed: int) -> Iterator[Array]:
    """How often each of `count` units is drawn, in chunks of b resamples: (b, count) each.

    All scores of the same items share their resamples, so the last ones are kept.
    """
    check_number(resamples)
    found = (_kept if count * resamples <= _KEPT else _counted)(count, resamples, seed)
    for counts in found:
        yield counts.astype(np.float64)


@lru_cache(maxsize=2)
def _kept(count: int, resamples: int, seed: int) -> list[NDArray[np.integer]]:
    return list(_counted(count, resamples, seed))


def _counted(count: int, resamples: int, seed: int) -> Iterator[NDArray[np.integer]]:
    """The draws, in the smallest type that holds `count`."""
    rng = np.random.default_rng([seed, 0])
    smallest = np.min_scalar_type(count)
    for rows in chunks(count, resamples):
        drawn = rng.integers(count, size=(rows, count))
        if count >= _LONG:
            yield np.array([np.bincount(row, minlength=count) for row in drawn], dtype=smallest)
            continue
        drawn += np.arange(rows)[:, None] * count
        counts = np.bincount(drawn.ravel(), minlength=rows * count)
        yield counts.reshape(rows, count).astype(smallest)


def chunks(count: int, resamples: int) -> Iterator[int]:
    """Split `resamples` resamples of `count` units into chunk sizes that fit into memory.

    Raises ValueError for less than one resample.
    """
    check_number(resamples)
    most = max(1, _CHUNK // count)
    for start in range(0, resamples, most):
        yield min(most, resamples - start)


def check_number(resamples: int) -> None:
    """Raises ValueError for less than one resample."""
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; at least 1 is needed.")


def pulls(drawn: Units, reduce: Reduce) -> Array:
    """The jackknife influence of each unit: how far the score falls without it, centred; (C,).

    (C, P) if `reduce` returns several scores at once, (..., P).

    Weighted by the remaining size, so that for a mean these are exactly what each unit adds beyond
    its size's share (Efron and Tibshirani 1993, chapter 11).
    """
    if len(drawn.sizes) == 1:
        return np.zeros(1)
    sums_S, size = drawn.sums.sum(0), drawn.sizes.sum()
    left_C = size - drawn.sizes
    step = max(1, _CHUNK // drawn.sums.shape[1])
    without_C = np.concatenate(
        [
            score(sums_S - drawn.sums[at : at + step], left_C[at : at + step], reduce)
            for at in range(0, len(left_C), step)
        ]
    )
    fallen_C = score(sums_S, size, reduce) - without_C
    pulls_C = fallen_C * (left_C / size).reshape(-1, *[1] * (fallen_C.ndim - 1))
    # They sum to zero for a mean; for a nonlinear score, to the jackknife's estimate of its bias.
    centred_C: Array = pulls_C - pulls_C.mean(axis=0)
    return centred_C


def spread(pulls_C: Array) -> float:
    """The score's jackknife standard error, from the pulls of its units; 0 for a single unit."""
    count = len(pulls_C)
    return math.sqrt(count / (count - 1) * float((pulls_C**2).sum())) if count > 1 else 0.0


def t_quantile(count: float, level: float) -> float:
    """The half-width of a two-sided t-interval over `count` units, in standard errors."""
    from scipy.special import stdtrit

    return float(stdtrit(max(1.0, count - 1), (1 + level) / 2))


def t_bounds(value: float, pulls_C: Array, level: float) -> tuple[float, float]:
    """The t-interval of a score with the jackknife's standard error."""
    half = t_quantile(len(pulls_C), level) * spread(pulls_C)
    return value - half, value + half


def t_p(value: float, error: float, count: int, differing: int) -> float:
    """The two-sided p of a change of `value` in a t-test over `count` units.

    At least that of a sign test in which all `differing` units agree, 2 / 2**differing: whatever
    one item of a rare label adds to the score, it proves nothing.
    """
    from scipy.special import stdtr

    if count < 2 or not differing or error <= 0:
        return 1.0
    return max(2 * float(stdtr(count - 1, -abs(value) / error)), 2.0 ** (1 - differing))


def fisher_bounds(value: float, pulls_C: Array, level: float) -> tuple[float, float]:
    """The interval of a correlation: symmetric on Fisher's scale, artanh (1921).

    With the jackknife's standard error instead of the normal distribution's 1 / sqrt(n - 3), as
    Spearman's and skewed numbers need (Bonett and Wright 2000), and t instead of z.
    """
    half = t_quantile(len(pulls_C), level) * spread(pulls_C) / (1 - value**2)
    return math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)


def drawn_bounds(
    scores_B: Array, value: float, pulls_C: Array, level: float
) -> tuple[float, float]:
    """Bounds from the scores of resamples: bias-corrected, accelerated, widened for few units.

    Efron's BCa (1987, "Better bootstrap confidence intervals") shifts the percentiles for skew.
    Percentile intervals are too narrow by sqrt((n - 1) / n) and by using z instead of t; Hesterberg
    (2015, "What teachers should know about the bootstrap", section 4) compensates with more extreme
    percentiles. The bounds stay within the range of the resampled scores and the score itself.
    """
    from scipy.special import ndtr, ndtri

    count, resamples = len(pulls_C), len(scores_B)
    squares = float((pulls_C**2).sum())
    if count == 1 or squares == 0:
        return float(scores_B.min()), float(scores_B.max())
    equal = np.abs(scores_B - value) <= TIE
    below = float(((scores_B < value) & ~equal).mean() + equal.mean() / 2)
    shift = float(ndtri(np.clip(below, 0.5 / resamples, 1 - 0.5 / resamples)))
    skew = float((pulls_C**3).sum()) / (6 * squares**1.5)
    if value == 0 and float(scores_B.min()) >= 0:
        # A distance between equal shares: no resample is below it, which is no bias to correct.
        shift = skew = 0.0
    reach = math.sqrt(count / (count - 1)) * t_quantile(count, level)
    levels = []
    for z in (shift - reach, shift + reach):
        stretched = 1 - skew * z
        moved = shift + z / stretched if stretched > 0 else math.copysign(math.inf, z)
        levels.append(float(ndtr(moved)))
    low, high = np.quantile(scores_B, levels)
    # If resampling only increases the score, as for a calibration error, both lie above it.
    return min(float(low), value), max(float(high), value)
