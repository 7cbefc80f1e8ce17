"""ROUGE: overlap of n-grams, subsequences and skip-bigrams with references (Lin 2004).

A metric's name is a type followed by options in any order, separated by colons:

    rouge2   rougeL:recall   rougeW-1.2:1.5.5   rougeSU4:paper   rouge1:unicode:unstemmed
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, Literal, final

import numpy as np

from brulee.errors import InputError, unknown
from brulee.evaluation.base import Array, MeanMetric
from brulee.evaluation.rouge_kinds import EXAMPLES, is_kind
from brulee.evaluation.rouge_scorer import DEFAULT, Multi, Options, Score, Scorer, Variant

USUAL: Final = ("rouge1", "rouge2", "rougeL")

Measure = Literal["f", "recall", "precision"]

# The options after the type in a metric's name -> the field and value that each sets.
_FLAGS: Final[dict[str, tuple[str, Any]]] = {
    "google": ("variant", "google"),
    "1.5.5": ("variant", "1.5.5"),
    "paper": ("variant", "paper"),
    "f": ("measure", "f"),
    "recall": ("measure", "recall"),
    "precision": ("measure", "precision"),
    "stemmed": ("stem", True),
    "unstemmed": ("stem", False),
    "best": ("multi", "best"),
    "mean": ("multi", "mean"),
    "unicode": ("tokenizer", "unicode"),
    "characters": ("tokenizer", "characters"),
    "unclipped": ("clip", False),
    "unstopped": ("drop_stop_words", True),
}
_NUMBERS: Final[dict[str, type]] = {"alpha": float, "words": int, "bytes": int}


def score(
    prediction: str,
    references: Sequence[str],
    types: Sequence[str] = USUAL,
    stem: bool = True,
    multi: Multi = "best",
    tokenizer: str = "google",
    variant: Variant | None = None,
    clip: bool = True,
    alpha: float = 0.5,
) -> dict[str, Score]:
    """The ROUGE scores of one text against one or several references: type -> Score.

    With several references, `multi="best"` takes the one with the highest F for each type (as
    rouge_score's score_multi does), and "mean" averages precision, recall and F over them; in
    variant 1.5.5 they are its formulas B (best recall) and A (counts pooled over the references).
    `tokenizer="unicode"` keeps the letters of every script, "characters" makes each a token, and
    "google" keeps only a-z and 0-9. `variant` is google, 1.5.5 or paper (rouge_scorer.py).
    `clip=False` counts a repeated word each time. `alpha` weights F towards precision (1) or recall
    (0).
    Raises InputError for an unknown type or option, for an option that the variant lacks, or when
    there is no reference.
    """
    scorer = _scorer(tuple(types), variant, stem, multi, tokenizer, clip, alpha)
    return scorer.score(prediction, references)


@final
class Rouge(MeanMetric):
    """ROUGE as a metric: an item's statistic is its F (or recall, precision), the score their mean.

    `suffix` follows the type in the metric's keys; it holds the options of the metric's name.
    """

    summary = "ROUGE-1, -2 and -L: words, pairs and sequences shared with a reference"

    def __init__(
        self,
        types: Sequence[str] = USUAL,
        options: Options = DEFAULT,
        measure: Measure = "f",
        suffix: str = "",
    ) -> None:
        self.keys = tuple(name + suffix for name in types)
        self.types, self.measure = tuple(types), measure
        self.scorer = Scorer(types, options)

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """The measure of each type: key -> (1,). Raises InputError without a reference."""
        scores = self.scorer.score(prediction, references)
        found = (np.array([getattr(scores[name], self.measure)]) for name in self.types)
        return dict(zip(self.keys, found, strict=True))


def is_rouge(name: str) -> bool:
    """Whether a metric's name is a ROUGE name, with any options."""
    return name.partition(":")[0] == "rouge" or is_kind(name.partition(":")[0])


def parse(name: str) -> Rouge:
    """The metric for a name such as "rougeL:paper:recall"; "rouge:recall" has three keys.

    Raises InputError for an unknown type or option, or an option that is set twice.
    """
    kind, colon, rest = name.partition(":")
    if not is_rouge(name):
        raise unknown("ROUGE type", kind, EXAMPLES)
    values: dict[str, Any] = {}
    for word in rest.split(":") if colon else ():
        field, value = _flag(name, word)
        if field in values:
            raise InputError(f"{name}: {word!r} sets {field} a second time.")
        values[field] = value
    measure = values.pop("measure", "f")
    return Rouge(USUAL if kind == "rouge" else (kind,), Options(**values), measure, colon + rest)


def _flag(name: str, word: str) -> tuple[str, Any]:
    field, equals, number = word.partition("=")
    if equals and field in _NUMBERS:
        try:
            return field, _NUMBERS[field](number)
        except ValueError:
            raise InputError(f"{name}: {field} needs a number, not {number!r}.") from None
    if word not in _FLAGS:
        raise unknown(f"option of {name}:", word, [*_FLAGS, *(f"{n}=N" for n in _NUMBERS)])
    return _FLAGS[word]


@lru_cache(maxsize=64)
def _scorer(types: tuple[str, ...], *options: Any) -> Scorer:
    return Scorer(types, Options(*options))
