"""Scores of short answers: how well a text matches its best reference."""

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
    """Lowercase; remove ASCII punctuation, articles and extra spaces (the SQuAD script's rule)."""
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def exact_match(prediction: str, reference: str) -> float:
    """1 if both texts are equal up to surrounding white space, else 0."""
    return float(prediction.strip() == reference.strip())


def quasi_exact_match(prediction: str, reference: str) -> float:
    """1 if both texts are equal after normalisation, else 0 (HELM's quasi-exact match)."""
    return float(normalise(prediction) == normalise(reference))


def token_f1(prediction: str, reference: str) -> float:
    """F1 of the two bags of normalised words; two texts without words match (SQuAD 2.0)."""
    ours, theirs = normalise(prediction).split(), normalise(reference).split()
    if not ours or not theirs:
        return float(ours == theirs)
    common = (Counter(ours) & Counter(theirs)).total()
    return 2 * common / (len(ours) + len(theirs))


def final_answer(text: str) -> str:
    """The text after the last "answer is ", or the whole text; without a trailing full stop."""
    return text.split(_SAYS)[-1].strip().removesuffix(".").rstrip()


def says_final_answer(text: str) -> bool:
    """Whether a text marks its final answer."""
    return _SAYS in text


class BestReference(MeanMetric, Protocol):
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
class ExactMatch(BestReference):
    """The share of items equal to a reference; named "accuracy", the same for labels."""

    summary = "the share of answers that equal the reference"

    def __init__(self, key: str = "exact_match") -> None:
        self.keys = (key,)

    def compare(self, prediction: str, reference: str) -> float:
        """See `exact_match`."""
        return exact_match(prediction, reference)


@final
class FinalAnswer(BestReference):
    """The share of items whose final answer, after any reasoning, equals a reference's."""

    keys = ("final_answer",)
    summary = "the share whose text after the last 'answer is' equals the reference's"

    def compare(self, prediction: str, reference: str) -> float:
        """See `final_answer`; both texts may begin with reasoning."""
        return exact_match(final_answer(prediction), final_answer(reference))


@final
class QuasiExactMatch(BestReference):
    """The share of items equal to a reference after normalisation."""

    keys = ("quasi_exact_match",)
    summary = "exact match without case, articles and punctuation"

    def compare(self, prediction: str, reference: str) -> float:
        """See `quasi_exact_match`."""
        return quasi_exact_match(prediction, reference)


@final
class TokenF1(BestReference):
    """The mean F1 of shared words."""

    keys = ("token_f1",)
    summary = "F1 of the words shared with the best reference"

    def compare(self, prediction: str, reference: str) -> float:
        """See `token_f1`."""
        return token_f1(prediction, reference)
