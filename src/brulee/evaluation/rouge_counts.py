"""Precision and recall of a text against a reference, for each kind of ROUGE (Lin 2004)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Final, TypeAlias

from brulee.evaluation import lcs
from brulee.evaluation.rouge_kinds import Family, Kind
from brulee.evaluation.rouge_text import Text
from brulee.evaluation.skip_bigrams import skip_bigrams, with_unigrams
from brulee.evaluation.weighted_lcs import weighted_length

# Precision and recall: shares of the prediction found in the reference, and the reverse.
Shares: TypeAlias = tuple[float, float]
Count: TypeAlias = Callable[[Text, Text, Kind, bool], Shares]

Gram: TypeAlias = str | tuple[str, ...]

_NOTHING: Final[Shares] = (0.0, 0.0)


def counter(family: Family) -> Count:
    """The function for the precision and recall of a text against a reference.

    Its last argument says whether to clip counts. Without clipping, a unit counts each time it
    occurs in a text, however often the other text has it, so one correct word repeated has a
    precision of 1. This affects N, S, SU and Lsum; an LCS uses no word twice.
    """
    return _FAMILIES[family]


def _grams(prediction: Text, reference: Text, kind: Kind, clip: bool) -> Shares:
    ours, theirs, n = prediction.tokens, reference.tokens, kind.n
    few, many = set(_ngrams(ours, n)), set(_ngrams(theirs, n))
    common = few & many
    if not common:
        return _NOTHING
    given, wanted = len(ours) - n + 1, len(theirs) - n + 1
    if not clip:
        return _occurring(ours, n, common) / given, _occurring(theirs, n, common) / wanted
    if len(few) == given or len(many) == wanted:
        hits = len(common)  # if one side has no repeats, each common n-gram counts once
    else:
        hits = _clipped(ours, theirs, n, common)
    return hits / given, hits / wanted


def _ngrams(tokens: str, n: int) -> Iterable[Gram]:
    if n == 1:
        return tokens
    if n == 2:
        return pairwise(tokens)
    return [tokens[i : i + n] for i in range(len(tokens) - n + 1)]


def _clipped(ours: str, theirs: str, n: int, common: set[Gram]) -> int:
    if n == 1:
        words = [str(word) for word in common]
        return sum([min(ours.count(word), theirs.count(word)) for word in words])
    here, there = Counter(_ngrams(ours, n)), Counter(_ngrams(theirs, n))
    return sum([min(here[gram], there[gram]) for gram in common])


def _occurring(tokens: str, n: int, common: set[Gram]) -> int:
    return sum(gram in common for gram in _ngrams(tokens, n))


def _lcs(prediction: Text, reference: Text, _kind: Kind, _clip: bool) -> Shares:
    common = lcs.length(prediction.tokens, reference.tokens)
    if not common:
        return _NOTHING
    return common / len(prediction.tokens), common / len(reference.tokens)


def _lcs_by_line(prediction: Text, reference: Text, _kind: Kind, clip: bool) -> Shares:
    ours, theirs = prediction.lines, reference.lines
    hits = lcs.union_hits(theirs, ours, clip)
    if not hits:
        return _NOTHING
    return hits / sum(map(len, ours)), hits / sum(map(len, theirs))


def _weighted_lcs(prediction: Text, reference: Text, kind: Kind, _clip: bool) -> Shares:
    ours, theirs = prediction.tokens, reference.tokens
    found = weighted_length(ours, theirs, kind.weight)
    if not found:
        return _NOTHING
    root = 1 / kind.weight
    share, covered = found / len(ours) ** kind.weight, found / len(theirs) ** kind.weight
    return share**root, covered**root


def _skips(prediction: Text, reference: Text, kind: Kind, clip: bool) -> Shares:
    ours, theirs = (skip_bigrams(t.tokens, kind.gap) for t in (prediction, reference))
    if kind.family == "SU":
        ours = with_unigrams(ours, prediction.tokens)
        theirs = with_unigrams(theirs, reference.tokens)
    if clip:
        found = here = (ours & theirs).total()
    else:
        here = sum(count for pair, count in ours.items() if pair in theirs)
        found = sum(count for pair, count in theirs.items() if pair in ours)
    return (here / ours.total(), found / theirs.total()) if found else _NOTHING


_FAMILIES: Final[dict[Family, Count]] = {
    "N": _grams,
    "L": _lcs,
    "Lsum": _lcs_by_line,
    "W": _weighted_lcs,
    "S": _skips,
    "SU": _skips,
}
