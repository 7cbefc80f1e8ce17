"""Scores of labels: macro-F1 and Matthews correlation, from confusion matrices.

Shape legend: `K` labels. A confusion (..., K, K+1) counts items by reference label (rows) and
predicted label (columns); the last column counts invalid predictions.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol, final

import numpy as np

from brulee.errors import InputError, unknown
from brulee.evaluation.base import Array, Metric, check_references


def macro_f1(confusion: Array) -> Array:
    """The unweighted mean of each label's F1: (..., K, K+1) -> (...).

    Labels that occur in neither references nor predictions are left out, as in scikit-learn's
    f1_score(average="macro"). An invalid prediction lowers its reference label's recall.
    """
    hits = np.diagonal(confusion[..., :-1], axis1=-2, axis2=-1)
    either = confusion.sum(-1) + confusion[..., :-1].sum(-2)
    return _divide(_divide(2 * hits, either).sum(-1), (either > 0).sum(-1))


def matthews(confusion: Array) -> Array:
    """The Matthews correlation in [-1, 1], for any number of labels (Gorodkin 2004's R_K).

    Invalid predictions count as an additional label. Zero if one side is constant, as in
    scikit-learn's matthews_corrcoef. (..., K, K+1) -> (...)
    """
    total = confusion.sum((-2, -1))
    true, predicted = confusion.sum(-1), confusion.sum(-2)
    hits = np.trace(confusion[..., :-1], axis1=-2, axis2=-1)
    joint = hits * total - (true * predicted[..., :-1]).sum(-1)
    sides = (total**2 - (true**2).sum(-1), total**2 - (predicted**2).sum(-1))
    # A constant side's variance may be above zero by rounding.
    varied = np.minimum(*sides) > 1e-12 * total**2
    return _divide(joint, np.where(varied, np.sqrt(np.abs(sides[0] * sides[1])), 0.0))


class Confusion(Metric, Protocol):
    """A score of the confusion matrix over a fixed list of labels."""

    labels: tuple[str, ...]

    @abstractmethod
    def score(self, confusion: Array) -> Array:
        """The score of a confusion: (..., K, K+1) -> (...)."""

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """One item's confusion matrix, flat: {key: (K * (K+1),)}.

        With several references, the one that equals the prediction counts, else the first.
        Raises InputError when there is no reference, or one that is not a label.
        """
        check_references(references)
        given, wanted = prediction.strip(), [reference.strip() for reference in references]
        for reference in wanted:
            if reference not in self.labels:
                raise unknown("label", reference, self.labels)
        truth = given if given in wanted else wanted[0]
        confusion = np.zeros((len(self.labels), len(self.labels) + 1))
        column = self.labels.index(given) if given in self.labels else -1
        confusion[self.labels.index(truth), column] = 1.0
        return {self.keys[0]: confusion.ravel()}

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """The score of mean confusion counts: (..., K * (K+1)) -> (...)."""
        del key, items  # there is one key, and a ratio of means equals the ratio of sums
        count = len(self.labels)
        mean = np.asarray(mean_S, dtype=np.float64)
        return self.score(mean.reshape(*mean.shape[:-1], count, count + 1))


@final
class MacroF1(Confusion):
    """Macro-F1 over a fixed list of labels."""

    keys = ("macro_f1",)
    summary = "F1 averaged over the task's labels"

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = _distinct(labels)

    def score(self, confusion: Array) -> Array:
        """See `macro_f1`."""
        return macro_f1(confusion)


@final
class Matthews(Confusion):
    """Matthews correlation over a fixed list of labels; may be negative."""

    keys = ("matthews",)
    summary = "Matthews' correlation over the task's labels"

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = _distinct(labels)

    def score(self, confusion: Array) -> Array:
        """See `matthews`."""
        return matthews(confusion)


def _distinct(labels: Sequence[str]) -> tuple[str, ...]:
    stripped = tuple(label.strip() for label in labels)
    if isinstance(labels, str) or len(set(stripped)) < max(2, len(stripped)):
        raise InputError(f"labels are {labels!r}; at least two different ones are needed.")
    return stripped


def _divide(above: Array, below: Array) -> Array:
    """Above / below, or 0 where below is 0."""
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), 0.0)
