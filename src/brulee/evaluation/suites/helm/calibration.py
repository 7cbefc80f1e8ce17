"""HELM's calibration measures, as statistics of the items.

Shape legend: `N` items, `S` statistics of one item.

Bins, weights and Platt scaling depend on all items; once they are fixed, every measure is a
function of means and thus has an interval like any other score. Definitions follow HELM, which uses
`uncertainty-calibration` (Kumar et al. 2019, "Verified uncertainty calibration"). Ten bins need
about 300 items to be informative. (HELM also has the one-bin error after Platt scaling, which is
zero by construction.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from brulee.evaluation.base import Array
from brulee.evaluation.calibration import calibration_error, edges_of_equal_mass, gaps

KEYS: Final = (
    "ece_10_bin",
    "ece_1_bin",
    "platt_ece_10_bin",
    "selective_area",
    "selective_acc@10",
)
LOWER_IS_BETTER: Final = frozenset(key for key in KEYS if "ece" in key)
_BINS: Final = 10
_EDGE: Final = 1e-12


def calibration_statistics(
    confidence: Sequence[float], correct: Sequence[float]
) -> list[dict[str, list[float]]]:
    """Each item's statistics for every measure that includes it: key -> (S,)."""
    confidence_N = np.asarray(confidence, dtype=np.float64)
    correct_N = np.asarray(correct, dtype=np.float64)
    platt_N = platt_scaled(confidence_N, correct_N)
    weights_N = _area_weights(confidence_N)
    columns = {
        "ece_10_bin": _gaps(confidence_N, correct_N, _BINS),
        "ece_1_bin": _gaps(confidence_N, correct_N, 1),
        "platt_ece_10_bin": _gaps(platt_N, correct_N, _BINS),
        # Divided by the weights, whose mean over all items is 1: in a resample without the surest
        # items, or with several of them, an area is one, too.
        "selective_area": np.stack([weights_N * correct_N, weights_N], axis=1),
    }
    items = [
        {key: column[i].tolist() for key, column in columns.items()} for i in _range(correct_N)
    ]
    for i in _surest(confidence_N):
        items[i]["selective_acc@10"] = [float(correct_N[i])]
    return items


def reduce(key: str, mean_S: Array) -> Array:
    """The measure from mean statistics (..., S): (...)."""
    mean = np.asarray(mean_S, dtype=np.float64)
    if key == "selective_area":
        area: Array = mean[..., 0] / mean[..., 1]
        return area
    return calibration_error(mean) if key in LOWER_IS_BETTER else mean[..., 0]


def platt_scaled(confidence_N: Array, correct_N: Array) -> Array:
    """Platt-scaled confidences: a logistic regression of the outcomes on the log-odds (N,).

    If all items are correct, or all wrong, returns that constant.
    """
    if correct_N.min() == correct_N.max():
        return correct_N.copy()
    from scipy.optimize import minimize
    from scipy.special import expit

    odds_N = _log_odds(confidence_N)

    def loss(line: Array) -> tuple[float, Array]:
        score_N = line[0] * odds_N + line[1]
        residual_N = expit(score_N) - correct_N
        value = float((np.logaddexp(0, score_N) - correct_N * score_N).mean())
        return value, np.array([(residual_N * odds_N).mean(), residual_N.mean()])

    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", tol=1e-12)
    fitted: Array = expit(found.x[0] * odds_N + found.x[1])
    return fitted


def _gaps(confidence_N: Array, correct_N: Array, bins: int) -> Array:
    """Each item's gap, in the column of its bin: (N, bins)."""
    return gaps(confidence_N, correct_N, edges_of_equal_mass(confidence_N, bins), bins)


def _area_weights(confidence_N: Array) -> Array:
    """Each correct answer's contribution to the area under the coverage-accuracy curve, times N.

    (N,). The area is the mean over k of the accuracy of the k most confident items; an item at rank
    i contributes for every k >= i. Items of equal confidence share their weights.
    """
    count = len(confidence_N)
    by_rank = np.cumsum((1 / np.arange(1, count + 1))[::-1])[::-1]
    order = np.argsort(-confidence_N, kind="stable")
    weights = np.empty(count)
    weights[order] = by_rank
    _, tied = np.unique(confidence_N, return_inverse=True)
    shared = np.bincount(tied, weights) / np.bincount(tied)
    result: Array = shared[tied]
    return result


def _surest(confidence_N: Array) -> NDArray[np.intp]:
    """The most confident tenth of the items, plus one, as in HELM."""
    return np.argsort(-confidence_N, kind="stable")[: int(0.1 * len(confidence_N)) + 1]


def _log_odds(confidence_N: Array) -> Array:
    inside = np.clip(confidence_N, _EDGE, 1 - _EDGE)
    odds: Array = np.log(inside / (1 - inside))
    return odds


def _range(values_N: Array) -> NDArray[np.intp]:
    return np.arange(len(values_N))
