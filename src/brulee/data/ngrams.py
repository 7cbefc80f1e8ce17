"""An index of the n-grams of words in a set of texts, by hash.

Shape legend: `T` words of all texts, concatenated with a boundary after each; `D` texts; `G`
n-grams.
"""

from __future__ import annotations

import sys
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, repeat
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from brulee.data.words import words

Ints: TypeAlias = NDArray[np.int64]
Words: TypeAlias = NDArray[np.uint32]
Hashes: TypeAlias = NDArray[np.uint64]

BOUNDARY: Final = 0
_UNSEEN: Final = 1
_FIRST: Final = 2
_TOGETHER: Final = 1 << 20  # n-grams hashed at a time
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Texts:
    """Concatenated texts as word numbers (T,), with the start (D,) and the row (D,) of each."""

    words: Words
    starts: Ints
    owners: Ints

    def text_of(self, positions: Ints) -> Ints:
        """The text of each position."""
        return np.searchsorted(self.starts, positions, side="right") - 1

    def owner_of(self, positions: Ints) -> Ints:
        """The row of each position."""
        return self.owners[self.text_of(positions)]

    def without(self, masked_T: NDArray[np.bool_]) -> Texts:
        """The same texts at the same positions, with the masked words replaced by boundaries."""
        kept_T = np.where(masked_T, np.uint32(BOUNDARY), self.words)
        return Texts(kept_T, self.starts, self.owners)

    def chosen(self, texts_D: NDArray[np.bool_]) -> Texts:
        """Some of the texts, in their order."""
        sizes_D = np.diff(self.starts, append=len(self.words))
        words = self.words[np.repeat(texts_D, sizes_D)]
        starts = np.concatenate([[0], np.cumsum(sizes_D[texts_D])[:-1]])[: np.sum(texts_D)]
        return Texts(words, starts.astype(np.int64), self.owners[texts_D])

    @classmethod
    def joined(cls, several: Sequence[Texts]) -> Texts:
        """The texts of several, one after the other."""
        before = np.cumsum([0, *(len(texts.words) for texts in several)])
        starts = [texts.starts + start for texts, start in zip(several, before, strict=False)]
        return cls(
            np.concatenate([texts.words for texts in several]),
            np.concatenate(starts),
            np.concatenate([texts.owners for texts in several]),
        )

    def segments(self) -> tuple[Ints, Ints]:
        """The starts and lengths of the runs of words between boundaries."""
        solid = np.concatenate([[False], self.words != BOUNDARY, [False]])
        edges = np.flatnonzero(solid[1:] != solid[:-1])
        return edges[::2], edges[1::2] - edges[::2]


class Vocabulary:
    """Maps words to numbers: two words have the same number if and only if they are equal."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = defaultdict(count(_FIRST).__next__)

    def learn(self, texts: Iterable[tuple[int, str]], most: int) -> Iterator[Texts]:
        """Convert (row, text) pairs; new words get new numbers.

        The texts come in chunks of whole rows, each of which but the last has at least `most` words
        and boundaries.
        """
        return self._chunks(texts, lambda found: map(self._numbers.__getitem__, found), most)

    def read(self, texts: Iterable[tuple[int, str]]) -> Texts:
        """Convert (row, text) pairs; new words all get one number, which no learned text has."""
        numbered = self._chunks(
            texts, lambda found: map(self._numbers.get, found, repeat(_UNSEEN)), sys.maxsize
        )
        return next(numbered)

    @staticmethod
    def _chunks(texts: Iterable[tuple[int, str]], numbered: Any, most: int) -> Iterator[Texts]:
        held, starts, owners = array("I"), array("q"), array("q")
        for owner, text in texts:
            if len(held) >= most and owner != owners[-1]:
                yield _texts(held, starts, owners)
                held, starts, owners = array("I"), array("q"), array("q")
            starts.append(len(held))
            owners.append(owner)
            held.extend(numbered(words(text)))
            held.append(BOUNDARY)
        yield _texts(held, starts, owners)


def _texts(held: array[int], starts: array[int], owners: array[int]) -> Texts:
    return Texts(
        np.array(held, dtype=np.uint32),
        np.array(starts, dtype=np.int64),
        np.array(owners, dtype=np.int64),
    )


class Grams:
    """The n-grams at some positions of `words_T`: sorted hashes and their positions.

    After a hash lookup the words themselves are compared, so a collision is never a match.
    `repeats` (G,) says for each entry, in order of hash then position, whether it is the same
    n-gram as the entry before it.
    """

    def __init__(self, words_T: Words, size: int, positions: Ints) -> None:
        self.words_T, self.size = words_T, size
        hashes = hashes_of(words_T, size, positions)
        order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[order]
        del hashes  # one of the largest arrays, and there may be hundreds of millions of n-grams
        self._at = positions.astype(np.uint32)[order]
        self.repeats = self._same_as_before()

    @property
    def at(self) -> Ints:
        """The position of each entry."""
        return self._at.astype(np.int64)

    def firsts(self) -> Grams:
        """The index without repeats: 12 bytes per distinct n-gram, enough for `find`."""
        kept = object.__new__(Grams)
        kept.words_T, kept.size = self.words_T, self.size
        kept._hashes, kept._at = self._hashes[~self.repeats], self._at[~self.repeats]
        kept.repeats = np.zeros(len(kept._at), dtype=np.bool_)
        return kept

    def __len__(self) -> int:
        return len(self._at)

    def find(self, words_T: Words, positions: Ints) -> Ints:
        """The first indexed position of the n-gram at each position; -1 if it is not indexed."""
        hashes = hashes_of(words_T, self.size, positions)
        found = np.full(len(positions), -1, dtype=np.int64)
        entry = np.searchsorted(self._hashes, hashes)
        open_ = np.arange(len(positions))
        while len(open_):
            inside = entry[open_] < len(self._hashes)
            open_ = open_[inside]
            open_ = open_[self._hashes[entry[open_]] == hashes[open_]]
            at = self._at[entry[open_]].astype(np.int64)
            same = _equal(words_T, positions[open_], self.words_T, at, self.size)
            found[open_[same]] = at[same]
            open_ = open_[~same]  # a collision: the next entry has the same hash, or none has
            entry[open_] += 1
        return found

    def all(self, words_T: Words, position: int) -> Ints:
        """All indexed positions of the n-gram at one position, unless repeats were left out."""
        at = np.array([position])
        low, high = (
            int(np.searchsorted(self._hashes, hashes_of(words_T, self.size, at)[0], side=side))
            for side in ("left", "right")
        )
        places = self._at[low:high].astype(np.int64)
        return places[_equal(words_T, np.repeat(at, len(places)), self.words_T, places, self.size)]

    def _same_as_before(self) -> NDArray[np.bool_]:
        """Whether each entry, in order of hash, is the same n-gram as the entry before it."""
        same = np.zeros(len(self._at), dtype=np.bool_)
        pairs = np.flatnonzero(self._hashes[1:] == self._hashes[:-1]) + 1
        now, before = self._at[pairs].astype(np.int64), self._at[pairs - 1].astype(np.int64)
        same[pairs] = _equal(self.words_T, now, self.words_T, before, self.size)
        return same


def windows(words_T: Words, size: int) -> Ints:
    """The start positions of all runs of `size` words that do not cross a boundary."""
    if len(words_T) < size:
        return np.empty(0, dtype=np.int64)
    boundaries = np.concatenate([[0], np.cumsum(words_T == BOUNDARY, dtype=np.int64)])
    return np.flatnonzero(boundaries[size:] == boundaries[:-size])


def covered(length: int, positions: Ints, size: int) -> NDArray[np.bool_]:
    """Which of `length` positions are inside a run of `size` that starts at one of `positions`."""
    begun = np.bincount(positions, minlength=length + 1)
    ended = np.bincount(positions + size, minlength=length + 1)
    return np.cumsum(begun - ended)[:length] > 0


def hashes_of(words_T: Words, size: int, positions: Ints) -> Hashes:
    """A polynomial hash of scattered word numbers, modulo 2**64."""
    hashes = np.zeros(len(positions), dtype=np.uint64)
    every_T = _scatter(words_T) if len(positions) * size > len(words_T) else None
    for start in range(0, len(positions), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        for offset in range(size):
            at = positions[part] + offset
            hashes[part] *= _ODD
            hashes[part] += _scatter(words_T[at]) if every_T is None else every_T[at]
    return hashes


def _scatter(numbers: Words) -> Hashes:
    """Word numbers spread over 64 bits by the finaliser of SplitMix64 (Steele et al. 2014)."""
    mixed = numbers * _ODD
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _equal(a_T: Words, at_a: Ints, b_T: Words, at_b: Ints, size: int) -> NDArray[np.bool_]:
    same = np.ones(len(at_a), dtype=np.bool_)
    for offset in range(size):
        same &= a_T[at_a + offset] == b_T[at_b + offset]
    return same
