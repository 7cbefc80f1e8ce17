"""Overlap of test texts with training texts: words covered, longest spans.

Shape legend: `T` words of the test texts, `I` items (test rows).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from brulee.data.ngrams import BOUNDARY, Grams, Ints, Texts, Words, covered, windows


class Hits(NamedTuple):
    """Test positions whose n-gram is in the training texts, and its first position there."""

    tested: Ints
    trained: Ints


class Span(NamedTuple):
    """A run of words in both texts: its start in each, and its length."""

    tested: int
    trained: int
    length: int


class Overlap:
    """Compares the test texts of `items` items with training texts of the same vocabulary."""

    def __init__(self, trained: Texts, tested: Texts, items: int) -> None:
        self.trained, self.tested, self.items = trained, tested, items
        ends = np.append(tested.starts[1:], len(tested.words))
        self._owners_T = np.repeat(tested.owners, ends - tested.starts)

    def count(self, words_T: NDArray[np.bool_]) -> Ints:
        """The number of marked words in each item: (I,)."""
        return np.bincount(self._owners_T[words_T], minlength=self.items)

    def hits(self, grams: Grams) -> Hits:
        """The n-grams of the test texts that are in the training texts."""
        positions = windows(self.tested.words, grams.size)
        found = grams.find(self.tested.words, positions)
        return Hits(positions[found >= 0], found[found >= 0])

    def items_of(self, hits: Hits) -> set[int]:
        """The items that have at least one of the hits."""
        return {int(item) for item in np.unique(self._owners_T[hits.tested])}

    def covered(self, hits: Hits, size: int) -> Ints:
        """The number of words of each item that are inside a hit of that size: (I,)."""
        return self.count(covered(len(self.tested.words), hits.tested, size))

    def whole(self, short: Mapping[int, Grams]) -> dict[int, Span]:
        """The items of only short texts that are all texts of the same training row.

        `short` are the short training texts by length. The span is the longest text.
        """
        starts, lengths = self.tested.segments()
        owners = self.tested.owner_of(starts)
        bounds = np.flatnonzero(np.diff(owners, prepend=-1, append=-1))
        found = {}
        for low, high in pairwise(bounds):
            if all(int(n) in short for n in lengths[low:high]):
                pairs = list(zip(starts[low:high], lengths[low:high], strict=True))
                span = self._whole_item([(int(s), int(n)) for s, n in pairs], short)
                if span is not None:
                    found[int(owners[low])] = span
        return found

    def _whole_item(self, texts: list[tuple[int, int]], short: Mapping[int, Grams]) -> Span | None:
        start, length = max(texts, key=lambda text: text[1])
        places = short[length].all(self.tested.words, start)
        rows = self.trained.owner_of(places)
        for other, size in texts:
            if not len(rows):
                return None
            beside = self.trained.owner_of(short[size].all(self.tested.words, other))
            kept = np.isin(rows, beside)
            places, rows = places[kept], rows[kept]
        return Span(start, int(places[0]), length) if len(places) else None

    def spans(self, hits: Iterable[Hits]) -> dict[int, Span]:
        """The longest run of each item with hits, extended in both directions."""
        longest: dict[int, Span] = {}
        for found in hits:
            runs = _run_starts(found)
            for item, span in zip(
                self._owners_T[runs.tested].tolist(), self._extended(runs), strict=True
            ):
                if item not in longest or span.length > longest[item].length:
                    longest[item] = span
        return longest

    def _extended(self, runs: Hits) -> Iterable[Span]:
        a_T, b_T = self.tested.words, self.trained.words
        befores = np.minimum(_back(a_T, runs.tested), _back(b_T, runs.trained))
        afters = np.minimum(_ahead(a_T, runs.tested), _ahead(b_T, runs.trained))
        for a, b, before, after in zip(*runs, befores, afters, strict=True):
            back = _agree(a_T[a - before : a][::-1], b_T[b - before : b][::-1])
            ahead = _agree(a_T[a : a + after], b_T[b : b + after])
            yield Span(int(a) - back, int(b) - back, back + ahead)


def _run_starts(hits: Hits) -> Hits:
    """The first of each run of hits that are consecutive in both texts."""
    goes_on = (np.diff(hits.tested, prepend=-2) == 1) & (np.diff(hits.trained, prepend=-2) == 1)
    return Hits(hits.tested[~goes_on], hits.trained[~goes_on])


def _back(words_T: Words, positions: Ints) -> Ints:
    """The number of words before each position, back to the boundary."""
    edges = np.concatenate([[-1], np.flatnonzero(words_T == BOUNDARY)])
    return np.asarray(positions - edges[np.searchsorted(edges, positions) - 1] - 1)


def _ahead(words_T: Words, positions: Ints) -> Ints:
    """The number of words from each position to the next boundary."""
    edges = np.append(np.flatnonzero(words_T == BOUNDARY), len(words_T))
    return np.asarray(edges[np.searchsorted(edges, positions)] - positions)


def _agree(a_T: Words, b_T: Words) -> int:
    """The length of the common prefix."""
    differs = np.flatnonzero(a_T != b_T)
    return int(differs[0]) if len(differs) else len(a_T)
