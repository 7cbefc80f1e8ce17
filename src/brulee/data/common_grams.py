"""The n-grams that occur in many rows of stored texts, counted without an index of all n-grams.

A first pass counts rows in fewer cells than there are n-grams, each of which belongs to the cell of
its hash. Only n-grams whose cells count enough are then counted by themselves.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from brulee.data.ngrams import Grams, Hashes, Ints, Texts, Words, hashes_of, windows
from brulee.data.stored_texts import StoredTexts

_LEAST_BITS, _MOST_BITS = 16, 28  # at most 256 MB of cells
_FULL: Final = 255


def common_grams(stored: StoredTexts, size: int, most_rows: int) -> Grams:
    """The n-grams that occur in more than `most_rows` rows, in a small array of their own."""
    cells = _Cells(stored, size) if len(stored) > 1 else None
    hashes, rows = np.empty(0, np.uint64), np.empty(0, np.int64)
    words = np.empty((0, size), np.uint32)
    for texts in stored.read("Counting runs of words"):
        at, found = _windows(texts, size)
        if cells is not None:
            often = cells.of(found) > min(most_rows, _FULL - 1)
            at, found = at[often], found[often]
        new, firsts, counts = _by_hash(texts, at, found)
        hashes, rows, words = _merged(
            np.concatenate([hashes, new]),
            np.concatenate([rows, counts]),
            np.concatenate([words, _words(texts, firsts, size)]),
        )
    held = words[rows > most_rows]
    return Grams(held.ravel(), size, np.arange(len(held)) * size)


class _Cells:
    """For each hash, at least the number of rows with it, up to 255."""

    def __init__(self, stored: StoredTexts, size: int) -> None:
        bits = min(max((2 * stored.words).bit_length(), _LEAST_BITS), _MOST_BITS)
        self._shift = np.uint64(64 - bits)
        self._counts = np.zeros(1 << bits, np.uint8)
        for texts in stored.read("Looking for boilerplate"):
            hashes, _, counts = _by_hash(texts, *_windows(texts, size))
            cells = hashes >> self._shift  # ascending, as the hashes are
            firsts = np.flatnonzero(np.diff(cells, prepend=np.uint64(2**63)))
            if len(firsts):
                added = np.add.reduceat(counts, firsts) + self._counts[cells[firsts]]
                self._counts[cells[firsts]] = np.minimum(added, _FULL)

    def of(self, hashes: Hashes) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = self._counts[hashes >> self._shift]
        return found


def _windows(texts: Texts, size: int) -> tuple[Ints, Hashes]:
    at = windows(texts.words, size)
    return at, hashes_of(texts.words, size, at)


def _by_hash(texts: Texts, at: Ints, hashes: Hashes) -> tuple[Hashes, Ints, Ints]:
    """Each hash once, ascending, with its first position and the number of its rows."""
    order = np.argsort(hashes, kind="stable")
    hashes, at = hashes[order], at[order]
    rows = texts.owner_of(at)
    new_hash = np.ones(len(hashes), np.bool_)
    new_hash[1:] = hashes[1:] != hashes[:-1]
    new_row = new_hash.copy()
    new_row[1:] |= rows[1:] != rows[:-1]
    firsts = np.flatnonzero(new_hash)
    counts = np.add.reduceat(new_row, firsts, dtype=np.int64) if len(firsts) else firsts
    return hashes[firsts], at[firsts], counts


def _words(texts: Texts, at: Ints, size: int) -> Words:
    found: Words = texts.words[at[:, None] + np.arange(size)]
    return found


def _merged(hashes: Hashes, rows: Ints, words: Words) -> tuple[Hashes, Ints, Words]:
    """Add up the rows of equal hashes; no row is in two chunks."""
    each, firsts, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    return each, np.bincount(inverse, rows, len(each)).astype(np.int64), words[firsts]
