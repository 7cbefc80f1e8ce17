"""BIG-bench's multiple-choice scores, from the log-probability of each choice.

Equal to `bigbench` 1.0.0 (`task_metrics.py`). Shape legend: `C` choices of an item, `K` distinct
choices of a task, `S` statistics of an item.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, final

import numpy as np

from brulee.errors import InputError
from brulee.evaluation.base import Array
from brulee.evaluation.classification import macro_f1
from brulee.evaluation.suites.bigbench_prompt import Written, write
from brulee.evaluation.suites.bigbench_schema import CHOSEN, JsonTask

Scores = dict[str, list[float]]  # metric -> the statistics (S,) of one item

BINS: Final = 15
_GRADE: Final = "multiple_choice_grade"
_CALIBRATION: Final = ("calibration_multiple_choice_brier_score", "expected_calibration_error")


@final
class Chosen:
    """Scores the most likely choice and its calibration."""

    def __init__(self, task: JsonTask) -> None:
        asked = task.asks(CHOSEN)
        # As published, a graded task also has calibration scores.
        self.metrics = tuple(
            m for m in CHOSEN if m in asked or (m in _CALIBRATION and _GRADE in asked)
        )
        self.absolute = task.absolute_normalization
        self.labels: tuple[str, ...] = ()
        if "macro_f1" in asked:
            self.labels = _labels(task)

    def judge(self, written: Written, log_probabilities: Sequence[float]) -> tuple[str, Scores]:
        """The choice, and the statistics (S,) of each metric."""
        from scipy.special import logsumexp  # bit-exact: its hash breaks ties

        absolute_C = np.asarray(log_probabilities, dtype=np.float64)
        normal_C = absolute_C - logsumexp(absolute_C)
        picked = written.choices[pick(absolute_C if self.absolute else normal_C)]
        worth_C = np.asarray(written.scores, dtype=np.float64)
        likely_C = np.exp(normal_C)
        true_C = worth_C / worth_C.sum() if worth_C.sum() else np.zeros_like(worth_C)
        brier_C = true_C * (likely_C - 1) ** 2 + (1 - true_C) * likely_C**2
        found: Scores = {
            _GRADE: [worth_C[written.choices.index(picked)]],
            "calibration_multiple_choice_brier_score": [brier_C.sum(), len(brier_C)],
            "expected_calibration_error": _binned(likely_C, true_C),
            "weighted_log_probabilities": [(worth_C * absolute_C).sum()],
            "weighted_probabilities": [(worth_C * np.exp(absolute_C)).sum()],
        }
        if self.labels:
            found["macro_f1"] = self._confusion(written, picked)
        return picked, {key: [float(v) for v in found[key]] for key in self.metrics}

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """The score of mean statistics: (..., S) -> (...)."""
        del items  # these are ratios and sums of means
        mean = np.asarray(mean_S, dtype=np.float64)
        if key == "calibration_multiple_choice_brier_score":
            return np.asarray(mean[..., 0] / mean[..., 1])
        if key == "expected_calibration_error":
            return np.asarray(np.abs(mean[..., :BINS] - mean[..., BINS:]).sum(-1))
        if key == "macro_f1":
            count = len(self.labels)
            return macro_f1(mean.reshape(*mean.shape[:-1], count, count + 1))
        return np.asarray(mean[..., 0])

    def _confusion(self, written: Written, picked: str) -> list[float]:
        right = written.choices[written.scores.index(1.0)]
        table = np.zeros((len(self.labels), len(self.labels) + 1))
        table[self.labels.index(right), self.labels.index(picked)] = 1.0
        return [float(v) for v in table.ravel()]


def pick(log_probability_C: Array) -> int:
    """The index of the most likely choice; ties are broken by the SHA-256 of the numbers."""
    best = np.flatnonzero(log_probability_C == log_probability_C.max())
    drawn = int(hashlib.sha256(log_probability_C.tobytes()).hexdigest(), 16)
    return int(best[drawn % len(best)])


def _binned(likely_C: Array, true_C: Array) -> list[float]:
    """Correctness and probability of the most likely choice, in its equal-width bin."""
    confidence = float(likely_C.max())
    edges = [(number + 1) / BINS for number in range(BINS - 1)]
    bin_ = int(np.searchsorted(edges, confidence, side="right"))
    counts = np.zeros((2, BINS))
    counts[0, bin_] = float(likely_C.argmax() == true_C.argmax())
    counts[1, bin_] = confidence
    return [float(v) for v in counts.ravel()]


def _labels(task: JsonTask) -> tuple[str, ...]:
    """Every distinct choice of a task. Raises InputError unless each example has one answer."""
    written = write(task)
    for example in written:
        if example.scores.count(1.0) != 1 or sum(example.scores) != 1:
            raise InputError(
                f"{task.name}, example {example.number + 1}: macro_f1 needs one choice that scores "
                "1, the others 0."
            )
    return tuple(sorted({choice for example in written for choice in example.choices}))
