"""Corpus TER (Snover et al. 2006): edits and shifts that a text needs, per reference word.

The statistics of an item are sacrebleu's two counts: the edits to the closest reference and the
mean length of the references. Lower is better; a text longer than its reference can score above 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, final

import numpy as np

from brulee.evaluation.base import Array, Metric, check_references


def signature(references: int | str = "var") -> str:
    """The sacrebleu signature of these settings, for `references` texts per item."""
    scorer = _scorer()
    scorer.num_refs = -1 if references == "var" else references
    return str(scorer.get_signature())


@final
class Ter(Metric):
    """TER as a metric: sacrebleu's corpus_ter / 100."""

    keys = ("ter",)
    summary = "TER of the whole test, by sacrebleu: edits; lower is better"

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """Edits and reference length of one item: {"ter": (2,)}; InputError without a reference."""
        check_references(references)
        counted = _scorer().corpus_score([prediction], [[reference] for reference in references])
        return {"ter": np.array([counted.num_edits, counted.ref_length], dtype=np.float64)}

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """Edits over words of the references, from their means (..., 2): (...)."""
        del key, items
        edits, length = np.moveaxis(np.asarray(mean_S, dtype=np.float64), -1, 0)
        # Any words against an empty reference give a score of 1, as in sacrebleu.
        share = np.divide(edits, length, out=np.ones_like(edits), where=length > 0)
        return np.where((length > 0) | (edits > 0), share, 0.0)

    def higher_is_better(self, key: str) -> bool:
        """Whether a higher score is better: no, TER counts errors."""
        del key
        return False


@cache
def _scorer() -> Any:
    from sacrebleu.metrics.ter import TER

    return TER()
