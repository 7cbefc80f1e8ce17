"""Uncertainty of scores of confusion matrices, of which few items may show a label.

Macro-F1 and Matthews' correlation depend as much on a label that two items have as on one that
ninety have. Resampling these two shows little of how others would be answered.

Shape legend: `N` items, `S` = K * (K + 1) cells of K labels (classification.py), `C` units that are
drawn.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from brulee.evaluation import shares
from brulee.evaluation.base import Array
from brulee.evaluation.resampling import Reduce, Units, t_quantile

_STEP: Final = 0.25  # of the weight of a unit; a derivative, 0, exaggerates at constant answers


def are_confusions(*sides_NS: Array) -> bool:
    """Whether each item is in one cell of a K x (K + 1) confusion matrix (classification.py)."""
    return all(_are_confusions(side) for side in sides_NS)


def _are_confusions(stats_NS: Array) -> bool:
    cells = stats_NS.shape[1]
    labels = math.isqrt(cells)
    if labels < 2 or cells != labels * (labels + 1):
        return False
    return bool((stats_NS.max(1) == 1).all() and (np.abs(stats_NS).sum(1) == 1).all())


def unvaried_bounds(
    value: float, stats_NS: Array, count: int, reduce: Reduce, level: float
) -> tuple[float, float]:
    """Bounds of a score that is the same in every resample of `count` units.

    An unseen share of items (`shares.unseen`) may be in any one cell: a model that always predicts
    the same label has a correlation of 0, but its true correlation may differ.
    """
    return _with_cells(value, value, np.eye(stats_NS.shape[1]), stats_NS, count, reduce, level)


def with_absent(
    low: float, high: float, stats_NS: Array, count: int, reduce: Reduce, level: float
) -> tuple[float, float]:
    """Bounds extended for labels that no reference has: an unseen share of items may have one."""
    absent_K = absent(stats_NS)
    if not absent_K.any():
        return low, high
    cells_LS = np.eye(stats_NS.shape[1])[np.repeat(absent_K, len(absent_K) + 1)]
    return _with_cells(low, high, cells_LS, stats_NS, count, reduce, level)


def absent(stats_NS: Array) -> NDArray[np.bool_]:
    """Which labels no reference has: (K,)."""
    labels = math.isqrt(stats_NS.shape[1])
    found: NDArray[np.bool_] = stats_NS.sum(0).reshape(labels, labels + 1).sum(1) == 0
    return found


def _with_cells(
    low: float,
    high: float,
    cells_LS: Array,
    stats_NS: Array,
    count: int,
    reduce: Reduce,
    level: float,
) -> tuple[float, float]:
    may = shares.unseen(count, level)
    mixed_LS = (1 - may) * stats_NS.mean(0) + may * cells_LS
    scores_L = reduce(mixed_LS, float(len(stats_NS)))
    return min(low, float(scores_L.min())), max(high, float(scores_L.max()))


def bounds(drawn: Units, reduce: Reduce, level: float) -> tuple[float, float]:
    """The t-interval around a score in which every label has one more unit, half of it right.

    Of few items with a label, resampling shows only how these were answered. The delta method has
    the error (Takahashi et al. 2022, "Confidence interval for micro-averaged F1 and macro-averaged
    F1 scores"), and the added units do for every label what Agresti and Coull (1998, "Approximate
    is better than 'exact'") do for one share: they move the centre and widen the spread.
    """
    count = len(drawn.sizes)
    centre, influence, parts = _with_added(drawn, reduce, (True, True, False, False))
    half = t_quantile(count, level) * _error(influence, parts, count)
    return centre - half, centre + half


def error_of_change(before: Units, after: Units, reduce: Reduce) -> float:
    """The standard error of a change of the score; never 0.

    That of its linear part (the infinitesimal jackknife, Efron and Tibshirani 1993, chapter 21),
    with one more unit per label, of which a quarter each is right before and after, right before,
    right after, and never: as in `bounds`, and as Bonett and Price (2012, "Adjusted Wald confidence
    interval for a difference of binomial proportions based on paired data") do for a change of a
    share. That all items of a label were answered alike does not prove that others would be. The
    added units widen the spread of one unit; they do not count as evidence.
    """
    _, was, parts = _with_added(before, reduce, (True, True, False, False))
    _, is_, _ = _with_added(after, reduce, (True, False, True, False))
    return _error(is_ - was, parts, len(before.sizes))


def _with_added(
    drawn: Units, reduce: Reduce, right: tuple[bool, ...]
) -> tuple[float, Array, Array]:
    """The score with one more unit per label, in quarters that are right or wrong.

    With it, the influence of every unit and quarter, and how much of a unit each is: (C + 4K,).
    """
    count, cells = drawn.sums.shape
    labels = math.isqrt(cells)
    right_KS, wrong_KS = _answers(labels, cells)
    added = [right_KS if one else wrong_KS for one in right]
    parts = np.concatenate([np.ones(count), np.full(len(right) * labels, 1 / len(right))])
    weights = parts * np.concatenate(
        [drawn.sizes, np.full(len(right) * labels, drawn.sizes.mean())]
    )
    whole = float(weights.sum())
    each_S = np.concatenate([drawn.sums / drawn.sizes[:, None], *added])
    mean_S = weights @ each_S / whole
    score = float(reduce(mean_S, whole))
    step = _STEP / len(weights)
    nearer = reduce((1 - step) * mean_S + step * each_S, whole)
    return score, (nearer - score) / step * weights / whole, parts


def _error(influence: Array, parts: Array, count: int) -> float:
    # A part of a unit varies as a whole one would, as often as it is part of one.
    squares = float((influence**2 / parts).sum())
    labels = float(parts.sum()) - count
    return math.sqrt(squares * (count + labels) / max(1, count - 1))


def _answers(labels: int, cells: int) -> tuple[Array, Array]:
    """For each label, a right answer and an average wrong one: (K, S) each."""
    right_KS = np.eye(cells)[np.arange(labels) * (labels + 2)]
    own = np.eye(labels)
    others = np.concatenate([(1 - own) / (labels - 1), np.zeros((labels, 1))], axis=1)
    wrong_KS = (own[:, :, None] * others[:, None, :]).reshape(labels, cells)
    return right_KS, wrong_KS
