"""Uncertainty of scores: bootstrap intervals, paired tests, correction for many tests.

Shape legend: `N` items, `S` statistics of one item, `B` resamples, `C` clusters.

Every function takes per-item statistics (N, S) and the `reduce` that turns mean statistics (..., S)
of so many items into scores (...), usually `functools.partial(metric.reduce, key)`; see base.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brulee.evaluation.base import Array

Reduce: TypeAlias = Callable[[Array, float | Array], Array]

ENUMERATED: Final = 16  # with so many items or fewer, all sign patterns are tried
_CHUNK: Final = 1 << 22  # entries of the largest (B, N) array held at once
_TIE: Final = 1e-10  # differences closer than this are equal but for rounding

# Detected with 80 % power by a two-sided test at 5 %: z(0.975) + z(0.8) = 1.96 + 0.84 standard
# errors (Bloom 1995, "Minimum Detectable Effects", Evaluation Review 19(5)).
_DETECTABLE: Final = 2.8016
# With fewer units no test of signs comes below 5 %: 2 / 2**5 is more than that.
_FEWEST: Final = 6


class Interval(NamedTuple):
    """A score, its confidence bounds, the number of items it rests on."""

    value: float
    low: float
    high: float
    n: int


class Comparison(NamedTuple):
    """Two scores on the same items, and what can be said about their difference.

    `wins`, `losses` and `ties` count items on which tuned is above, below or equal to base.
    `minimum_detectable` is the true difference that a test of this size finds in 80 % of cases;
    None for fewer than six items (or clusters), of which no p is below 5 %, whatever they show.
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
    clusters: Sequence[Any] | NDArray[Any] | None = None,
) -> Interval:
    """The score of all items with a percentile-bootstrap interval (Efron and Tibshirani 1993).

    Items are resampled, or whole clusters where `clusters` (N,) names the cluster of each item.
    Raises ValueError for no items, a NaN, a wrong shape, or a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1.")
    stats = _checked(stats_NS, "statistics")
    scores_B = resampled(stats, reduce, resamples, seed, clusters)
    low, high = np.quantile(scores_B, [(1 - level) / 2, (1 + level) / 2])
    value = float(reduce(stats.sum(0) / len(stats), float(len(stats))))
    return Interval(value, float(low), float(high), len(stats))


def resampled(
    stats_NS: ArrayLike,
    reduce: Reduce,
    resamples: int = 2000,
    seed: int = 0,
    clusters: Sequence[Any] | NDArray[Any] | None = None,
) -> Array:
    """The score in each of so many bootstrap resamples of the items or clusters: (B,).

    One seed draws the same resamples for every score of the same items. Raises as `interval`.
    """
    sums_CS, sizes_C = _clustered(_checked(stats_NS, "statistics"), clusters)
    return np.concatenate(
        [_score(w @ sums_CS, w @ sizes_C, reduce) for w in _draws(len(sizes_C), resamples, seed)]
    )


def compare(
    base_NS: ArrayLike,
    tuned_NS: ArrayLike,
    reduce: Reduce,
    resamples: int = 2000,
    seed: int = 0,
    clusters: Sequence[Any] | NDArray[Any] | None = None,
    swaps: int | None = None,
) -> Comparison:
    """Base against tuned on the same items: paired bootstrap interval, paired randomisation test.

    The interval of the difference is 95 %, from resamples shared by both (Koehn 2004). p is
    two-sided and comes from swapping base and tuned at random per item (Noreen 1989), `swaps` times
    (by default as often as is resampled): it is (c + 1) / (B + 1), or exact over all patterns for
    up to 16 items. Of the mean of 0/1 outcomes it
    is exact whatever their number, which is McNemar's test. Clusters are drawn and swapped whole.
    Of a score that is no mean, such as a ratio of counts, what is swapped is what each item adds
    to the score of its side, to first order. Swapping the counts would ask whether the two sides
    are the same in everything: one that names a tenth as much would differ from one that names
    as much right.
    Raises ValueError for no items, a NaN, or shapes that differ.
    """
    base, tuned = _checked(base_NS, "base statistics"), _checked(tuned_NS, "tuned statistics")
    if base.shape != tuned.shape:
        raise ValueError(
            f"base statistics have shape {base.shape}, tuned ones {tuned.shape}; "
            "a paired comparison needs the same items on both sides."
        )
    base_CS, sizes_C = _clustered(base, clusters)
    tuned_CS, _ = _clustered(tuned, clusters)
    differences_B = _paired_bootstrap(base_CS, tuned_CS, sizes_C, reduce, resamples, seed)
    low, high = np.quantile(differences_B, [0.025, 0.975])
    base_score = float(_score(base_CS.sum(0), sizes_C.sum(), reduce))
    tuned_score = float(_score(tuned_CS.sum(0), sizes_C.sum(), reduce))
    if clusters is None and is_share(base, tuned, reduce):
        p = mcnemar(base[:, 0], tuned[:, 0])
    else:
        p = _randomisation(base_CS, tuned_CS, sizes_C, reduce, swaps or resamples, seed)
    gains_N = reduce(tuned, 1.0) - reduce(base, 1.0)
    wins, losses = int((gains_N > _TIE).sum()), int((gains_N < -_TIE).sum())
    return Comparison(
        base_score, tuned_score, tuned_score - base_score, float(low), float(high), p,
        wins, losses, len(base) - wins - losses, _minimum_detectable(differences_B, len(sizes_C)),
    )  # fmt: skip


def is_share(base_NS: Array, tuned_NS: Array, reduce: Reduce) -> bool:
    """Whether the score is the plain mean (N, 1) of outcomes that are 0 or 1."""
    if base_NS.shape[1] != 1 or not np.isin([base_NS, tuned_NS], (0, 1)).all():
        return False
    probe = np.array([[0.25], [0.5]])
    return bool((reduce(probe, float(len(base_NS))) == probe[:, 0]).all())


def mcnemar(base_correct: ArrayLike, tuned_correct: ArrayLike) -> float:
    """McNemar's exact two-sided p for paired 0/1 outcomes (N,): a binomial test of the discordant.

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


def _checked(values: ArrayLike, what: str) -> Array:
    stats = np.asarray(values, dtype=np.float64)
    if stats.ndim != 2 or not stats.size:
        raise ValueError(f"{what} have shape {stats.shape}; they must be (N, S) with N, S >= 1.")
    bad = np.isnan(stats).any(axis=1)
    if bad.any():
        raise ValueError(f"{what} hold a NaN, first in item {int(bad.argmax())}.")
    return stats


def _clustered(
    stats_NS: Array, clusters: Sequence[Any] | NDArray[Any] | None
) -> tuple[Array, Array]:
    """Sums of statistics per cluster (C, S), and sizes (C,); by default each item is its own."""
    if clusters is None:
        return stats_NS, np.ones(len(stats_NS))
    names = np.asarray(clusters)
    if names.shape != (len(stats_NS),):
        raise ValueError(f"clusters have shape {names.shape}; it must be ({len(stats_NS)},).")
    _, members = np.unique(names, return_inverse=True)
    sums = np.zeros((members.max() + 1, stats_NS.shape[1]))
    np.add.at(sums, members, stats_NS)
    return sums, np.bincount(members).astype(np.float64)


def _score(sums: Array, sizes: Array, reduce: Reduce) -> Array:
    return reduce(sums / np.asarray(sizes)[..., None], sizes)


def _draws(count: int, resamples: int, seed: int) -> Iterator[Array]:
    """How often each of `count` units is drawn, for chunks of resamples: (b, count) each."""
    rng = np.random.default_rng([seed, 0])
    for rows in _chunks(count, resamples):
        drawn = rng.integers(count, size=(rows, count))
        drawn += np.arange(rows)[:, None] * count
        counts = np.bincount(drawn.ravel(), minlength=rows * count)
        yield counts.reshape(rows, count).astype(np.float64)


def _chunks(count: int, resamples: int) -> Iterator[int]:
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; at least 1 is needed.")
    most = max(1, _CHUNK // count)
    for start in range(0, resamples, most):
        yield min(most, resamples - start)


def _paired_bootstrap(
    base_CS: Array, tuned_CS: Array, sizes_C: Array, reduce: Reduce, resamples: int, seed: int
) -> Array:
    """Tuned minus base in each resample: (B,)."""
    differences = []
    for weights in _draws(len(sizes_C), resamples, seed):
        sizes = weights @ sizes_C
        tuned, base = weights @ tuned_CS, weights @ base_CS
        differences.append(_score(tuned, sizes, reduce) - _score(base, sizes, reduce))
    return np.concatenate(differences)


def _randomisation(
    base_CS: Array, tuned_CS: Array, sizes_C: Array, reduce: Reduce, resamples: int, seed: int
) -> float:
    """The two-sided p of the difference under random signs of what each unit adds to it."""
    shares_C = _shares(tuned_CS, sizes_C, reduce) - _shares(base_CS, sizes_C, reduce)
    observed, count = float(np.abs(shares_C.sum())), len(shares_C)

    def extremes(swapped_BC: Array) -> int:
        return int((np.abs((1.0 - 2.0 * swapped_BC) @ shares_C) >= observed - _TIE).sum())

    if count <= ENUMERATED:
        patterns = np.arange(1 << count)[:, None] >> np.arange(count) & 1
        return extremes(patterns.astype(np.float64)) / (1 << count)
    rng = np.random.default_rng([seed, 1])
    reached = sum(
        extremes(rng.integers(2, size=(rows, count), dtype=np.int8).astype(np.float64))
        for rows in _chunks(count, resamples)
    )
    return (reached + 1) / (resamples + 1)


def _shares(sums_CS: Array, sizes_C: Array, reduce: Reduce) -> Array:
    """What each unit adds to the score, to first order: (C,), with the score as their sum.

    A unit's size times the score, and how far the score falls where it is left out (the jackknife;
    Efron and Tibshirani 1993, chapter 11). Of a mean these are exactly its terms.
    """
    sums_S, size = sums_CS.sum(0), sizes_C.sum()
    score = float(_score(sums_S, size, reduce))
    by_size_C: Array = score * sizes_C / size
    if len(sizes_C) == 1:
        return by_size_C
    left_C = size - sizes_C
    pulls_C = (score - _score(sums_S - sums_CS, left_C, reduce)) * left_C / size
    # They sum to nothing for a mean; for a curved score, to the jackknife's estimate of its bias.
    centred_C: Array = pulls_C - pulls_C.mean()
    return by_size_C + centred_C


def _minimum_detectable(differences_B: Array, count: int) -> float | None:
    if count < _FEWEST:
        return None
    # The bootstrap's spread is that of the sample, (n - 1) / n of the unbiased estimate.
    unbiased = math.sqrt(count / (count - 1))
    return _DETECTABLE * unbiased * float(np.std(differences_B))
