"""F1 of one of two labels, as GLUE scores MRPC and QQP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from brulee.evaluation.base import Array, Metric, check_references


@final
class LabelF1(Metric):
    """F1 of the label `positive`: twice the hits over the predicted plus the actual positives.

    An answer that is neither label is wrong either way (as in T5's evaluation): it counts as
    `negative` if `positive` is correct, and as `positive` if `negative` is correct.
    """

    keys = ("f1",)

    def __init__(self, positive: str, negative: str) -> None:
        self.positive, self.negative = positive, negative

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """Hits, predicted and actual positives of one item: {"f1": (3,)}."""
        check_references(references)
        wanted = references[0] == self.positive
        valid = prediction in (self.positive, self.negative)
        given = prediction == self.positive if valid else not wanted
        return {"f1": np.array([given and wanted, given, wanted], dtype=np.float64)}

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """F1 from mean counts (..., 3): (...); 0 without predicted or actual positives."""
        del key, items
        mean = np.asarray(mean_S, dtype=np.float64)
        either = mean[..., 1] + mean[..., 2]
        return np.where(either > 0, 2 * mean[..., 0] / np.where(either > 0, either, 1.0), 0.0)
