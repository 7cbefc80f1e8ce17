"""Correlations of the numbers that a model generates with those of the references.

Pearson's r is a function of mean products, so it fits the metric interface directly. Spearman's rho
depends on ranks, which are defined only over all items: `join` turns the numbers into values whose
mean is rho and whose variance gives that of rho (its influence function, Croux and Dehon 2010, with
ties).

Shape legend: `N` items.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final, final

import numpy as np

from brulee.errors import InputError
from brulee.evaluation.base import Array, Metric, check_references

MISSING: Final = -1.0  # the value for a text without a number, as in T5's evaluation of STS-B

# A point begins a number unless it follows a word: ".5" is 0.5, but "fig.3" contains 3.
_number = re.compile(r"[-+]?(?:\d+(?:\.\d+)?|(?<![\w.])\.\d+)(?:[eE][-+]?\d+)?").search


def number(text: str) -> float:
    """The first number in a text; MISSING if there is none or its square overflows."""
    found = _number(text)
    value = float(found[0]) if found else MISSING
    return value if math.isfinite(value * value) else MISSING


@final
class Pearson(Metric):
    """Pearson's correlation of numbers in [-1, 1]; 0 if one side is constant."""

    keys = ("pearson",)
    summary = "Pearson's correlation of numbers"

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """Both numbers, their squares and product: {"pearson": (5,)}.

        Raises InputError for a reference without a number.
        """
        return {"pearson": np.array(moments(*_pair(prediction, references)))}

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """Covariance over the product of standard deviations, from means (..., 5): (...)."""
        del key, items
        x, y, xx, yy, xy = np.moveaxis(np.asarray(mean_S, dtype=np.float64), -1, 0)
        x_spread, y_spread = xx - x * x, yy - y * y
        # A constant's variance may be above zero by rounding.
        varied = (x_spread > 1e-12 * xx) & (y_spread > 1e-12 * yy)
        found = (xy - x * y) / np.sqrt(np.where(varied, x_spread * y_spread, 1.0))
        return np.where(varied, np.clip(found, -1.0, 1.0), 0.0)


@final
class Spearman(Metric):
    """Spearman's rank correlation in [-1, 1], with mid-ranks; 0 if one side is constant."""

    keys = ("spearman",)
    summary = "Spearman's rank correlation of numbers"

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """Both numbers: {"spearman": (2,)}. Raises InputError for a reference without a number."""
        return {"spearman": np.array(_pair(prediction, references))}

    def join(self, key: str, stats_NS: Array) -> Array:
        """Values (N, 1) with rho as their mean."""
        del key
        return spearman_values(stats_NS[:, 0], stats_NS[:, 1])[:, None]

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """The mean of the joined values, clipped to [-1, 1]: (..., 1) -> (...)."""
        del key, items
        return np.clip(np.asarray(mean_S, dtype=np.float64)[..., 0], -1.0, 1.0)

    def item(self, key: str, stats_S: Array) -> float:
        """Zero, because a single item has no rank."""
        del key, stats_S
        return 0.0


def moments(x: float, y: float) -> list[float]:
    """One item's statistics for Pearson's r: both numbers, their squares, their product."""
    return [x, y, x * x, y * y, x * y]


def spearman_values(x_N: Array, y_N: Array) -> Array:
    """Values (N,) whose mean is Spearman's rho: rho plus each item's influence on it."""
    f_N, g_N = _shares_below(x_N), _shares_below(y_N)
    joint, own_f, own_g = (float(np.mean(a * b)) for a, b in ((f_N, g_N), (f_N, f_N), (g_N, g_N)))
    covariance, variance_f, variance_g = joint - 0.25, own_f - 0.25, own_g - 0.25
    if min(variance_f, variance_g) <= 1e-12:
        return np.zeros(len(f_N))
    rho = covariance / np.sqrt(variance_f * variance_g)
    # An additional item at (x, y) shifts every rank above it; `_mean_above` sums these shifts.
    d_joint = f_N * g_N + _mean_above(x_N, g_N) + _mean_above(y_N, f_N) - 3 * joint
    d_f = f_N**2 + 2 * _mean_above(x_N, f_N) - 3 * own_f
    d_g = g_N**2 + 2 * _mean_above(y_N, g_N) - 3 * own_g
    scale = np.sqrt(variance_f * variance_g)
    return np.asarray(rho + d_joint / scale - rho / 2 * (d_f / variance_f + d_g / variance_g))


def _pair(prediction: str, references: Sequence[str]) -> tuple[float, float]:
    check_references(references)
    if _number(references[0]) is None:
        raise InputError(f"a correlation needs a number as reference, not {references[0]!r}.")
    return number(prediction), number(references[0])


def _shares_below(x_N: Array) -> Array:
    """Each item's mid-rank: the share of items below it plus half of those equal to it."""
    ordered = np.sort(x_N)
    below, up_to = np.searchsorted(ordered, x_N, "left"), np.searchsorted(ordered, x_N, "right")
    return np.asarray((below + up_to) / (2 * len(x_N)))


def _mean_above(x_N: Array, value_N: Array) -> Array:
    """For each item, the sum of values above it plus half of those equal to it, over N."""
    order = np.argsort(x_N, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(value_N[order])])
    ordered = x_N[order]
    below, up_to = np.searchsorted(ordered, x_N, "left"), np.searchsorted(ordered, x_N, "right")
    return np.asarray((2 * sums[-1] - sums[below] - sums[up_to]) / (2 * len(x_N)))
