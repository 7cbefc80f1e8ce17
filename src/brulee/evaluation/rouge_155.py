"""ROUGE of one item as the Perl script ROUGE-1.5.5 (Lin 2005) computes it, digit for digit.

The script departs from the paper in these points, which are reproduced here: L compares sentence by
sentence, clipped by word counts; W applies the weight twice to the recall's denominator (so four
words against themselves have a recall of 0.76) and continues a run over clipped words; SU leaves
out the last word of a text; several references are pooled, or the one with the best recall is
taken; every score is rounded to five decimals before further use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from brulee.errors import InputError
from brulee.evaluation.base import check_references
from brulee.evaluation.lcs import positions
from brulee.evaluation.rouge_155_text import PLAIN, Reading, Text, read
from brulee.evaluation.rouge_kinds import Kind
from brulee.evaluation.skip_bigrams import skip_bigrams, with_unigrams
from brulee.evaluation.weighted_lcs import weighted_positions

Formula = Literal["A", "B"]  # -f: pooled over the references, or the best of them
_Hits: TypeAlias = tuple[float, float, float, float]  # hits, wanted, given, recall for ranking


@dataclass(frozen=True)
class Item:
    """Numbers of matched, reference and prediction units, and the scores derived from them."""

    hits: float
    wanted: float
    given: float
    recall: float
    precision: float
    f: float


def score(
    prediction: str,
    references: Sequence[str],
    kind: Kind,
    reading: Reading = PLAIN,
    formula: Formula = "A",
    alpha: float = 0.5,
) -> Item:
    """One item's score; `alpha` weights precision against recall in F (-p).

    Raises InputError without a reference, and for Lsum, which the script lacks: its L already
    expects one sentence per line.
    """
    check_references(references)
    count = _counter(kind)
    given = read(prediction, reading)
    each = [count(read(reference, reading), given) for reference in references]
    if formula == "A":
        hits, wanted, offered = (sum(values) for values in list(zip(*each, strict=True))[:3])
    else:
        hits, wanted, offered, _ = max(each, key=lambda counted: counted[3])
    root = 1 / kind.weight if kind.family == "W" else 1.0
    recall, precision = _share(hits, wanted, root), _share(hits, offered, root)
    return Item(hits, wanted, offered, recall, precision, f_measure(precision, recall, alpha))


def f_measure(precision: float, recall: float, alpha: float) -> float:
    """The weighted harmonic mean, to five decimals; 0 if its denominator is 0."""
    below = (1 - alpha) * precision + alpha * recall
    return round5(precision * recall / below) if below > 0 else 0.0


def round5(number: float) -> float:
    """The number rounded as by printing it with five decimals."""
    return float(f"{number:.5f}")


def _share(hits: float, of: float, root: float) -> float:
    return round5((hits / of) ** root) if of else 0.0


def _counter(kind: Kind) -> Callable[[Text, Text], _Hits]:
    if kind.family == "Lsum":
        raise InputError("ROUGE-1.5.5 has no rougeLsum; its rougeL reads one sentence a line.")
    if kind.family == "L":
        return _lcs
    if kind.family == "W":
        return lambda wanted, given: _wlcs(wanted, given, kind.weight)
    return lambda wanted, given: _overlap(_units(wanted, kind), _units(given, kind))


def _units(text: Text, kind: Kind) -> Counter[tuple[str, ...]]:
    tokens = text.tokens
    if kind.family == "N":
        return Counter(zip(*(tokens[i:] for i in range(kind.n)), strict=False))
    pairs = skip_bigrams(tokens, kind.gap)
    # The script's loop over single words ends one word early.
    return pairs if kind.family == "S" else with_unigrams(pairs, tokens[:-1])


def _overlap(wanted: Counter[tuple[str, ...]], given: Counter[tuple[str, ...]]) -> _Hits:
    hits, total = (wanted & given).total(), wanted.total()
    return hits, total, given.total(), round5(hits / total) if total else 0.0


def _lcs(wanted: Text, given: Text) -> _Hits:
    clip = _Clip(wanted, given)
    hits = 0
    for sentence in wanted.sentences:
        marked = _marked(sentence, given, positions)
        hits += sum(clip.take(sentence[position]) for position in sorted(marked))
    total = sum(map(len, wanted.sentences))
    return hits, total, len(given.tokens), hits / total if total else 0.0


def _wlcs(wanted: Text, given: Text, weight: float) -> _Hits:
    clip = _Clip(wanted, given)
    hits = 0.0
    for sentence in wanted.sentences:
        marked = _marked(
            sentence, given, lambda reference, other: weighted_positions(reference, other, weight)
        )
        hits += _runs(sentence, marked, clip, weight)
    base = sum(len(sentence) ** weight for sentence in wanted.sentences)
    ranks = (hits / base) ** (1 / weight) if base else 0.0
    return hits, base**weight, len(given.tokens) ** weight, ranks


def _runs(sentence: Sequence[str], marked: set[int], clip: _Clip, weight: float) -> float:
    """The weight of a sentence's runs; a clipped word neither counts nor ends its run."""
    total, run = 0.0, 0
    for position in sorted(marked):
        if clip.take(sentence[position]):
            run += 1
            if position + 1 not in marked:
                total += run**weight
                run = 0
    return total


def _marked(
    sentence: Sequence[str],
    given: Text,
    align: Callable[[Sequence[str], Sequence[str]], Sequence[int]],
) -> set[int]:
    """Positions of a reference sentence that are aligned with any sentence of the text."""
    return set().union(*(align(sentence, other) for other in given.sentences))


class _Clip:
    """Limits each word to its smaller count in the two texts."""

    def __init__(self, wanted: Text, given: Text) -> None:
        self.left = Counter(wanted.tokens) & Counter(given.tokens)

    def take(self, word: str) -> bool:
        """Whether the word may count once more; if so, reduces its remaining count."""
        if self.left[word] <= 0:
            return False
        self.left[word] -= 1
        return True
