"""HELM's scores of generated answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from brulee.evaluation import matching
from brulee.evaluation.rouge import score as rouge_score

Score = Callable[[str, Sequence[str]], float]


def exact_match(output: str, references: Sequence[str]) -> float:
    """1 if the stripped output equals a correct answer, else 0; an empty output always gets 0."""
    return _best(matching.exact_match, output, references)


def quasi_exact_match(output: str, references: Sequence[str]) -> float:
    """As `exact_match`, but ignoring case, punctuation, articles and extra spaces."""
    return _best(matching.quasi_exact_match, output, references)


def f1(output: str, references: Sequence[str]) -> float:
    """F1 of the two sets of normalised words; unlike SQuAD's, a repeated word counts once."""
    return max(_set_f1(output, reference) for reference in references)


def rouge2(output: str, references: Sequence[str]) -> float:
    """The F1 of ROUGE-2, stemmed."""
    return rouge_score(output.strip(), references, ("rouge2",))["rouge2"].f


SCORES: Final[dict[str, Score]] = {
    "exact_match": exact_match,
    "quasi_exact_match": quasi_exact_match,
    "f1_score": f1,
    "rouge2": rouge2,
}


def _best(compare: Callable[[str, str], float], output: str, references: Sequence[str]) -> float:
    if not output.strip():
        return 0.0
    return max(compare(output, reference) for reference in references)


def _set_f1(output: str, reference: str) -> float:
    ours, theirs = _words(output), _words(reference)
    if not ours or not theirs:
        return 0.0
    return 2 * len(ours & theirs) / (len(ours) + len(theirs))


def _words(text: str) -> frozenset[str]:
    return frozenset(matching.normalise(text).split())
