"""What is looked for in training texts: the runs of words of the test texts.

Shape legend: `T` words of the texts, concatenated; `D` texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from brulee.data.ngrams import Grams, Hashes, Ints, Texts, hashes_of, windows

SHORT: Final = 8
LONG: Final = 13
_LEAST_BITS, _MOST_BITS = 8, 24


class Sought:
    """The 8-grams of test texts, and their segments of fewer words.

    A text that holds a 13-gram, or a longer segment, holds an 8-gram of it. Short segments matter
    only in rows without a segment of 13 words.
    """

    def __init__(self, tested: Sequence[Texts]) -> None:
        self._runs = _Hashes([hashes_of(t.words, SHORT, windows(t.words, SHORT)) for t in tested])
        short = [_short(texts) for texts in tested]
        self._segments = {
            size: _Hashes(
                [
                    hashes_of(texts.words, size, starts[lengths == size])
                    for texts, (starts, lengths) in zip(tested, short, strict=True)
                ]
            )
            for size in range(1, SHORT)
        }

    def held_in(self, texts: Texts) -> NDArray[np.bool_]:
        """Which of the texts hold something that is looked for, or its hash: (D,)."""
        held_D = np.zeros(len(texts.starts), np.bool_)
        self._mark(held_D, texts, self._runs, SHORT, windows(texts.words, SHORT))
        starts, lengths = texts.segments()
        for size, sought in self._segments.items():
            self._mark(held_D, texts, sought, size, starts[lengths == size])
        return held_D

    @staticmethod
    def _mark(
        held_D: NDArray[np.bool_], texts: Texts, sought: _Hashes, size: int, positions: Ints
    ) -> None:
        if sought:
            found = sought.among(hashes_of(texts.words, size, positions))
            held_D[texts.text_of(positions[found])] = True


class TrainedTexts:
    """Training texts with their 8- and 13-grams, and their whole segments of up to 12 words."""

    def __init__(self, texts: Texts) -> None:
        held = texts.words
        self.texts = texts
        self.grams = {n: Grams(held, n, windows(held, n)).firsts() for n in (SHORT, LONG)}
        starts, lengths = texts.segments()
        self.whole = {n: Grams(held, n, starts[lengths == n]) for n in range(1, LONG)}


class _Hashes:
    """A set of hashes, and of their first bits, by which most others are told from them."""

    def __init__(self, several: Sequence[Hashes]) -> None:
        self._sorted = np.unique(np.concatenate(several))
        bits = min(max((16 * len(self._sorted)).bit_length(), _LEAST_BITS), _MOST_BITS)
        self._shift = np.uint64(64 - bits)
        self._begins = np.zeros(1 << bits, np.bool_)
        self._begins[self._sorted >> self._shift] = True

    def __bool__(self) -> bool:
        return len(self._sorted) > 0

    def among(self, hashes: Hashes) -> Ints:
        """The positions of those in the set."""
        likely = np.flatnonzero(self._begins[hashes >> self._shift])
        at = np.searchsorted(self._sorted, hashes[likely])
        inside = at < len(self._sorted)
        likely, at = likely[inside], at[inside]
        found: Ints = likely[self._sorted[at] == hashes[likely]]
        return found


def _short(texts: Texts) -> tuple[Ints, Ints]:
    """Starts and lengths of the segments of rows that have none of 13 words."""
    starts, lengths = texts.segments()
    rows = texts.owner_of(starts)
    long = np.isin(rows, rows[lengths >= LONG])
    return starts[~long], lengths[~long]
