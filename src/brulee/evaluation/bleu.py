"""Corpus BLEU (Papineni et al. 2002), with sacrebleu's tokeniser, counts and smoothing.

The statistics of an item are ten counts: matches of 1- to 4-grams, totals of 1- to 4-grams, the
prediction's length and the closest reference's length. Smoothing replaces the first zero match
count with half a match in the whole corpus (the next with a quarter, ...), so the score needs the
number of items in addition to the mean counts.

Items may have different numbers of references. sacrebleu takes reference *streams*, one text per
item each, and ignores a text that is None; here an item lists only the references it has. In both,
an empty string is a reference of length 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, final

import numpy as np

from brulee.evaluation.base import Array, Metric, check_references

ORDER: Final = 4  # n-grams of length 1 to 4


def signature(references: int | str = "var") -> str:
    """The sacrebleu signature of these settings, for `references` texts per item."""
    scorer = _scorer("13a")
    scorer.num_refs = -1 if references == "var" else references
    return str(scorer.get_signature())


@final
class Bleu(Metric):
    """BLEU as a metric: sacrebleu's corpus_bleu / 100 (exponential smoothing).

    `tokenizer` is one of sacrebleu's: 13a, intl, char, none and others. A single item's score is
    the same formula on its counts, without effective order: a prediction of fewer than four tokens
    scores 0.
    """

    keys = ("bleu",)
    summary = "BLEU of the whole test, by sacrebleu"

    def __init__(self, tokenizer: str = "13a") -> None:
        self.tokenizer = tokenizer

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """The ten counts of one item: {"bleu": (10,)}.

        Raises InputError when there is no reference.
        """
        check_references(references)
        scorer = _scorer(self.tokenizer)
        counted = scorer.corpus_score([prediction], [[reference] for reference in references])
        lengths = [counted.sys_len, counted.ref_len]
        return {"bleu": np.array([*counted.counts, *counted.totals, *lengths], dtype=np.float64)}

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """BLEU in [0, 1] from the mean counts (..., 10) over `items` items: (...)."""
        del key  # there is only one
        counts = np.asarray(mean_S, dtype=np.float64) * np.asarray(items)[..., None]
        matches, totals = counts[..., :ORDER], counts[..., ORDER : 2 * ORDER]
        penalty = _brevity_penalty(counts[..., -2], counts[..., -1])
        scored = (totals > 0).all(-1) & (matches > 0).any(-1)
        precisions = _smoothed(matches) / np.where(totals > 0, totals, 1.0)
        return np.where(scored, penalty * np.exp(np.log(precisions).mean(-1)), 0.0)


def _brevity_penalty(predicted: Array, wanted: Array) -> Array:
    ratio = wanted / np.where(predicted > 0, predicted, 1.0)
    penalty = np.exp(np.minimum(0.0, 1.0 - ratio))
    return np.where(predicted > 0, penalty, 0.0)


def _smoothed(matches: Array) -> Array:
    """Matches; the k-th order with none gets 2**-k (Chen and Cherry 2014, method 3)."""
    missing = matches == 0
    return np.where(missing, 0.5 ** np.cumsum(missing, axis=-1), matches)


@cache
def _scorer(tokenizer: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenizer, smooth_method="exp", force=True)
