"""Calibration of a model's probabilities: expected calibration error, Brier score.

An item's prediction is a probability, its reference 1 (correct, or true) or 0. An item's statistics
for the calibration error have one number per bin, the gap between outcome and confidence in the
item's bin; so the error is a function of their mean, and the bootstrap of stats.py applies.

Shape legend: `N` items, `K` bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, final

import numpy as np

from brulee.errors import InputError
from brulee.evaluation.base import Array, MeanMetric, Metric, check_references

EQUAL_MASS: Final = 10  # HELM's ece_10_bin
EQUAL_WIDTH: Final = 15  # BIG-bench's


def edges_of_equal_mass(confidence_N: Array, bins: int = EQUAL_MASS) -> Array:
    """Upper edges of bins with equal numbers of items, halfway between neighbouring values.

    There are fewer bins if there are fewer items or if equal values would be split (Kumar et al.
    2019, "Verified uncertainty calibration", as HELM uses it).
    """
    parts = np.array_split(np.sort(confidence_N), min(bins, len(confidence_N)))
    between = [(a[-1] + b[0]) / 2 for a, b in pairwise(parts)]
    return np.unique([*between, 1.0])


def edges_of_equal_width(bins: int = EQUAL_WIDTH) -> Array:
    """Upper edges of bins of equal width (Guo et al. 2017)."""
    return np.arange(1, bins + 1) / bins


def gaps(confidence_N: Array, right_N: Array, edges_K: Array, bins: int = 0) -> Array:
    """(N, K): outcome minus confidence in each item's bin, 0 elsewhere; K is at least `bins`."""
    bins_N = np.searchsorted(edges_K, confidence_N, side="left")
    found = np.zeros((len(confidence_N), max(bins, len(edges_K))))
    found[np.arange(len(confidence_N)), bins_N] = right_N - confidence_N
    return found


def calibration_error(mean_K: Array) -> Array:
    """The expected calibration error from mean gaps: (..., K) -> (...)."""
    return np.asarray(np.abs(mean_K).sum(-1))


@final
class CalibrationError(Metric):
    """Expected calibration error, in bins of equal mass or of equal width."""

    def __init__(self, key: str = "ece", equal_mass: bool = True) -> None:
        self.keys = (key,)
        self.equal_mass = equal_mass
        bins = "mass" if equal_mass else "width"
        self.summary = f"calibration error of probabilities, bins of equal {bins}; lower is better"

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """Confidence and outcome: (2,); InputError if not a probability, or not 0 or 1."""
        return {self.keys[0]: np.array(_pair(prediction, references))}

    def join(self, key: str, stats_NS: Array) -> Array:
        """The gaps of all items (N, K), for `reduce`."""
        del key
        confidence_N, right_N = stats_NS.T
        if not self.equal_mass:
            return gaps(confidence_N, right_N, edges_of_equal_width())
        # Two models on the same items may differ in edges, but need the same number of columns.
        return gaps(confidence_N, right_N, edges_of_equal_mass(confidence_N), EQUAL_MASS)

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """See `calibration_error`."""
        del key, items
        return calibration_error(np.asarray(mean_S, dtype=np.float64))

    def item(self, key: str, stats_S: Array) -> float:
        """The absolute gap on one item."""
        del key
        confidence, right = stats_S
        return abs(float(right - confidence))

    def higher_is_better(self, key: str) -> bool:
        """No: it is an error."""
        del key
        return False


@final
class Brier(MeanMetric):
    """The mean squared difference between probability and outcome (Brier 1950)."""

    keys = ("brier",)
    summary = "squared distance of a probability from the outcome; lower is better"

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """The squared difference: {"brier": (1,)}; InputError for invalid values."""
        probability, right = _pair(prediction, references)
        return {"brier": np.array([(probability - right) ** 2])}

    def higher_is_better(self, key: str) -> bool:
        """No: it is an error."""
        del key
        return False


def _pair(prediction: str, references: Sequence[str]) -> tuple[float, float]:
    check_references(references)
    if references[0].strip() not in {"0", "1"}:
        raise InputError(f"a calibration score needs 0 or 1 as reference, not {references[0]!r}.")
    try:
        probability = float(prediction)
    except ValueError:
        probability = -1.0
    if not 0 <= probability <= 1:
        raise InputError(
            f"a calibration score needs a probability from 0 to 1, not {prediction!r}."
        )
    return probability, float(references[0])
