"""Corpus chrF (Popović 2015): overlap of character n-grams, with sacrebleu's counts and average.

The statistics of an item are three counts for each length from 1 to 6: n-grams of the prediction,
of the reference, and of both. With several references, the one with the item's best chrF counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from brulee.evaluation.base import Array, Metric, check_references

ORDER: Final = 6
BETA: Final = 2  # recall weighs this many times as much as precision


def signature(references: int | str = "var") -> str:
    """The sacrebleu signature of these settings, for `references` texts per item."""
    scorer = _scorer()
    scorer.num_refs = -1 if references == "var" else references
    return str(scorer.get_signature())


@final
class Chrf(Metric):
    """chrF2 as a metric: sacrebleu's corpus_chrf / 100."""

    keys = ("chrf",)
    summary = "chrF2 of the whole test, by sacrebleu: character n-grams"

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """The counts of one item: {"chrf": (18,)}. Raises InputError without a reference."""
        check_references(references)
        given = _ngrams(prediction)
        each = [_counts(given, _ngrams(reference)) for reference in references]
        return {"chrf": max(each, key=lambda counts: self.item("chrf", counts))}

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """ChrF in [0, 1] from mean counts (..., 18): (...)."""
        del key, items  # a ratio of counts equals the ratio of their means
        mean = np.asarray(mean_S, dtype=np.float64)
        given, wanted, common = (mean[..., i::3] for i in range(3))
        counted = (given > 0) & (wanted > 0)
        lengths = np.maximum(counted.sum(-1), 1)
        precision = _ratio(common, given, counted).sum(-1) / lengths
        recall = _ratio(common, wanted, counted).sum(-1) / lengths
        below = BETA**2 * precision + recall
        return _ratio((1 + BETA**2) * precision * recall, below, below > 0)


def _ngrams(text: str) -> list[Counter[str]]:
    letters = "".join(text.split())
    return [
        Counter(letters[i : i + n] for i in range(len(letters) - n + 1))
        for n in range(1, ORDER + 1)
    ]


def _counts(given: Sequence[Counter[str]], wanted: Sequence[Counter[str]]) -> Array:
    # If the reference has no n-grams of a length, sacrebleu ignores the prediction's.
    counts = [
        (ours.total() if theirs else 0, theirs.total(), (ours & theirs).total())
        for ours, theirs in zip(given, wanted, strict=True)
    ]
    return np.array(counts, dtype=np.float64).ravel()


def _ratio(above: Array, below: Array, where: NDArray[np.bool_]) -> Array:
    return np.divide(above, below, out=np.zeros_like(above), where=where)


@cache
def _scorer() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()
