"""Scores of short answers: how well a text matches the best of its references."""

from __future__ import annotations

import re
import string
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Protocol, final

import numpy as np

from brulee.evaluation.base import Array, MeanMetric, check_references

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_SAYS = "answer is "
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lowercase, without ASCII punctuation, articles, surplus spaces (the SQuAD script's rule)."""
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def exact_match(prediction: str, reference: str) -> float:
    """1 if both texts are equal but for surrounding white space, else 0."""
    return float(prediction.strip() == reference.strip())


def quasi_exact_match(prediction: str, reference: str) -> float:
    """1 if both texts are equal once normalised, else 0 (HELM's quasi-exact match)."""
    return float(normalise(prediction) == normalise(reference))


def token_f1(prediction: str, reference: str) -> float:
    """F1 of the two bags of normalised words; two texts without words match (SQuAD 2.0)."""
    ours, theirs = normalise(prediction).split(), normalise(reference).split()
    if not ours or not theirs:
        return float(ours == theirs)
    common = (Counter(ours) & Counter(theirs)).total()
    return 2 * common / (len(ours) + len(theirs))


def final_answer(text: str) -> str:
    """What follows the last "answer is ", or all of it; without a full stop at its end."""
    return text.split(_SAYS)[-1].strip().removesuffix(".").rstrip()


class _BestReference(MeanMetric, Protocol):
    """The mean over items of the score against the best-matching reference."""

    @abstractmethod
    def compare(self, prediction: str, reference: str) -> float:
        """The score against one reference, in [0, 1]."""

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """The best score over the references: {key: (1,)}.

        Raises InputError when there is no reference.
        """
        check_references(references)
        best = max(self.compare(prediction, reference) for reference in references)
        return {self.keys[0]: np.array([best])}


@final
class ExactMatch(_BestReference):
    """The share of items equal to a reference; as "accuracy" the same for a chosen label."""

    summary = "the share of answers that equal the reference"

    def __init__(self, key: str = "exact_match") -> None:
        self.keys = (key,)

    def compare(self, prediction: str, reference: str) -> float:
        """See `exact_match`."""
        return exact_match(prediction, reference)


@final
class FinalAnswer(_BestReference):
    """The share of items whose answer, said after its reasoning, is a reference's."""

    keys = ("final_answer",)
    summary = "the share whose text after the last 'answer is' equals the reference's"

    def compare(self, prediction: str, reference: str) -> float:
        """See `final_answer`; both texts may reason first."""
        return exact_match(final_answer(prediction), final_answer(reference))


@final
class QuasiExactMatch(_BestReference):
    """The share of items equal to a reference once normalised."""

    keys = ("quasi_exact_match",)
    summary = "exact match without case, articles and punctuation"

    def compare(self, prediction: str, reference: str) -> float:
        """See `quasi_exact_match`."""
        return quasi_exact_match(prediction, reference)


@final
class TokenF1(_BestReference):
    """The mean F1 of shared words."""

    keys = ("token_f1",)
    summary = "F1 of the words shared with the best reference"

    def compare(self, prediction: str, reference: str) -> float:
        """See `token_f1`."""
        return token_f1(prediction, reference)
