"""ROUGE: n-gram overlap, LCS overlap (Lin 2004), equal to Google's rouge_score 0.1.2.

With the default tokenizer every number is the one rouge_score gives; that covers rouge1 to rouge9,
rougeL (line breaks ignored) and rougeLsum (one sentence per line, union LCS).
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from operator import add
from typing import Final, Literal, NamedTuple, final

import numpy as np

from brulee.errors import unknown
from brulee.evaluation import lcs
from brulee.evaluation.base import Array, MeanMetric, check_references
from brulee.evaluation.words import tokenizer as word_tokenizer

TYPES: Final = (*(f"rouge{n}" for n in range(1, 10)), "rougeL", "rougeLsum")
MULTI: Final = ("best", "mean")

Multi = Literal["best", "mean"]


class Score(NamedTuple):
    """Precision, recall and their harmonic mean, each in [0, 1]."""

    precision: float
    recall: float
    f: float


def score(
    prediction: str,
    references: Sequence[str],
    types: Sequence[str] = ("rouge1", "rouge2", "rougeL"),
    stem: bool = True,
    multi: Multi = "best",
    tokenizer: str = "google",
) -> dict[str, Score]:
    """The ROUGE scores of one text against one or several references: type -> Score.

    With several references `multi="best"` takes the one with the highest F, type by type (as
    rouge_score's score_multi does), and "mean" averages precision, recall and F over them.
    `tokenizer="unicode"` keeps the letters of every script; "google" knows a-z and 0-9 only.
    Raises InputError for an unknown type, tokenizer or `multi`, or when there is no reference.
    """
    check_references(references)
    for name in types:
        if name not in TYPES:
            raise unknown("ROUGE type", name, TYPES)
    if multi not in MULTI:
        raise unknown("way to join references", multi, MULTI)
    text = _Texts(word_tokenizer(tokenizer, stem), lines="rougeLsum" in types)
    predicted = text.read(prediction)
    each = [_all_types(predicted, text.read(r), types) for r in references]
    if len(each) == 1:
        return each[0]
    join = _best if multi == "best" else _mean
    return {name: join([scores[name] for scores in each]) for name in types}


@final
class Rouge(MeanMetric):
    """ROUGE as a metric: the statistic of an item is its F, the score their mean."""

    def __init__(
        self,
        keys: Sequence[str] = ("rouge1", "rouge2", "rougeL"),
        stem: bool = True,
        multi: Multi = "best",
        tokenizer: str = "google",
    ) -> None:
        self.keys = tuple(keys)
        self.stem, self.multi, self.tokenizer = stem, multi, tokenizer

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """The F of each type: key -> (1,); errors as in `score`."""
        scores = score(prediction, references, self.keys, self.stem, self.multi, self.tokenizer)
        return {key: np.array([s.f]) for key, s in scores.items()}


class _Text:
    """One text as a string with one code point per token, and its n-gram counts."""

    def __init__(self, tokens: str, lines: list[str]) -> None:
        self.tokens, self.lines = tokens, lines
        self._counts: dict[int, Counter[str]] = {}

    def ngrams(self, n: int) -> Counter[str]:
        if n not in self._counts:
            self._counts[n] = Counter(_ngrams(self.tokens, n))
        return self._counts[n]


class _Texts:
    """The texts of one item, which share one table of token -> code point."""

    def __init__(self, words: Callable[[str], Iterable[str]], lines: bool) -> None:
        self.words, self.lines = words, lines
        # Numbering per item keeps the code points small, which is what rapidfuzz is fastest on.
        self.codes: dict[str, str] = defaultdict(map(chr, itertools.count()).__next__)

    def read(self, text: str) -> _Text:
        lines = [self._encode(line) for line in text.split("\n")] if self.lines else []
        return _Text(self._encode(text), lines)

    def _encode(self, text: str) -> str:
        return "".join(map(self.codes.__getitem__, self.words(text)))


def _ngrams(tokens: str, n: int) -> Iterable[str]:
    if n == 1:
        return tokens
    if n == 2:
        return map(add, tokens, tokens[1:])
    return (tokens[i : i + n] for i in range(len(tokens) - n + 1))


def _all_types(prediction: _Text, reference: _Text, types: Sequence[str]) -> dict[str, Score]:
    scores = {}
    for name in types:
        if name == "rougeL":
            common = lcs.length(prediction.tokens, reference.tokens)
            scores[name] = _score(common, len(prediction.tokens), len(reference.tokens))
        elif name == "rougeLsum":
            scores[name] = _union(prediction.lines, reference.lines)
        else:
            scores[name] = _overlap(prediction, reference, int(name[len("rouge") :]))
    return scores


def _overlap(prediction: _Text, reference: _Text, n: int) -> Score:
    ours, theirs = prediction.ngrams(n), reference.ngrams(n)
    common = sum(min(ours[gram], theirs[gram]) for gram in ours.keys() & theirs.keys())
    short = n - 1
    return _score(common, len(prediction.tokens) - short, len(reference.tokens) - short)


def _union(prediction: Sequence[str], reference: Sequence[str]) -> Score:
    hits = lcs.union_hits(reference, prediction)
    return _score(hits, sum(map(len, prediction)), sum(map(len, reference)))


def _score(common: int, predicted: int, wanted: int) -> Score:
    if not common:
        return Score(0.0, 0.0, 0.0)
    precision, recall = common / predicted, common / wanted
    return Score(precision, recall, 2 * precision * recall / (precision + recall))


def _best(scores: Sequence[Score]) -> Score:
    return max(scores, key=lambda s: s.f)


def _mean(scores: Sequence[Score]) -> Score:
    return Score(*(sum(values) / len(scores) for values in zip(*scores, strict=True)))
