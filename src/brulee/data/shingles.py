"""Texts as sets of hashed shingles (5-grams of words)."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from brulee.data.words import fold, words
from brulee.progress import bar

SHINGLE = 5
# The number of texts hashed at a time.
BLOCK = 2_000
_WORTH_A_BAR = 20_000


@dataclass(frozen=True)
class Block:
    """Hashes of the distinct shingles of some texts, concatenated, ascending within each text.

    `starts` are the offsets of the texts.
    """

    hashes: np.ndarray
    starts: np.ndarray

    def of(self, i: int) -> np.ndarray:
        """The hashes of one of the texts."""
        return self.hashes[
            self.starts[i] : self.starts[i + 1] if i + 1 < len(self.starts) else None
        ]


def _words(text: str) -> list[str]:
    """The words of a text; for a short one its folded text, marked, repeated to fill a shingle."""
    found = words(text)
    return found if len(found) >= SHINGLE else [f"\x1f{' '.join(fold(text).split())}"] * SHINGLE


class _WordHashes(dict[str, int]):
    def __missing__(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[word] = int.from_bytes(digest)
        return self[word]


def read_blocks(texts: Sequence[str]) -> Iterator[Block]:
    """Yield the shingles of texts, BLOCK texts at a time."""
    hashes = _WordHashes()
    with counting("Reading texts", len(texts), len(texts), "texts") as advance:
        for start in range(0, len(texts), BLOCK):
            block = texts[start : start + BLOCK]
            yield _block([[hashes[word] for word in _words(text)] for text in block])
            advance(len(block))


def _block(texts: list[list[int]]) -> Block:
    counts = np.array([len(words) for words in texts])
    flat = np.array([word for words in texts for word in words], dtype=np.uint64)
    owners = np.repeat(np.arange(len(texts)), counts)
    last = len(flat) - SHINGLE + 1
    mixed = functools.reduce(
        lambda so_far, offset: mix(so_far * np.uint64(31) + flat[offset : offset + last]),
        range(1, SHINGLE),
        mix(flat[:last]),
    )
    inside = owners[:last] == owners[SHINGLE - 1 :]
    hashes, owners = mixed[inside], owners[:last][inside]
    order = np.lexsort((hashes, owners))
    hashes, owners = hashes[order], owners[order]
    first = np.ones(len(hashes), dtype=bool)
    first[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    return Block(hashes[first], np.searchsorted(owners[first], np.arange(len(texts))))


def mix(values: np.ndarray) -> np.ndarray:
    """Mix 64-bit values so that each bit depends on all others (the finaliser of MurmurHash3)."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    mixed: np.ndarray = values ^ (values >> np.uint64(33))
    return mixed


@contextmanager
def counting(
    description: str, texts: int, total: int, unit: str
) -> Iterator[Callable[[int], None]]:
    """A progress bar if there are enough texts for it to be useful."""
    if texts < _WORTH_A_BAR:
        yield lambda _count: None
        return
    with bar(description, total=total, unit=unit) as progress:
        yield progress.advance
