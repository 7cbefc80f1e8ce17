"""Texts as sets of hashed shingles (5-grams of words)."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import numpy as np

from brulee.data.words import fold, words
from brulee.progress import bar

SHINGLE = 5
# The most texts and words hashed at a time, together about 80 bytes a word.
BLOCK = 2_000
MOST_WORDS = 400_000
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


class Shingler:
    """Makes blocks of texts; each word is hashed once."""

    def __init__(self) -> None:
        self._hashes = _WordHashes()

    def blocks(self, texts: Sequence[str]) -> Iterator[Block]:
        """Yield the shingles of texts, BLOCK texts or MOST_WORDS words at a time."""
        with counting("Reading texts", len(texts), len(texts), "texts") as advance:
            for start in range(0, len(texts), BLOCK):
                for words in _parts(texts[start : start + BLOCK]):
                    yield self._block(words)
                    advance(len(words))

    def of(self, text: str) -> np.ndarray:
        """The hashes of the distinct shingles of one text, ascending."""
        return self._block([_words(text)]).hashes

    def _block(self, texts: Sequence[Sequence[str]]) -> Block:
        counts = np.array([len(words) for words in texts])
        numbers = map(self._hashes.__getitem__, chain.from_iterable(texts))
        flat = np.fromiter(numbers, np.uint64, int(counts.sum()))
        last = len(flat) - SHINGLE + 1
        mixed = functools.reduce(
            lambda so_far, offset: mix(so_far * np.uint64(31) + flat[offset : offset + last]),
            range(1, SHINGLE),
            mix(flat[:last]),
        )
        # At the last SHINGLE - 1 words of a text no shingle of its own begins.
        sizes = counts - SHINGLE + 1
        ends = np.cumsum(counts) - SHINGLE + 1
        for start, end in zip((ends - sizes).tolist(), ends.tolist(), strict=True):
            mixed[start:end].sort()
        hashes = mixed[np.arange(last) < np.repeat(ends, counts)[:last]]
        owners = np.repeat(np.arange(len(texts)), sizes)
        first = np.ones(len(hashes), dtype=bool)
        first[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
        return Block(hashes[first], np.searchsorted(owners[first], np.arange(len(texts))))


class _WordHashes(dict[str, int]):
    def __missing__(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[word] = int.from_bytes(digest)
        return self[word]


def _parts(texts: Iterable[str]) -> Iterator[list[list[str]]]:
    """The words of texts, in parts of little more than MOST_WORDS words."""
    part: list[list[str]] = []
    held = 0
    for found in map(_words, texts):
        part.append(found)
        held += len(found)
        if held >= MOST_WORDS:
            yield part
            part, held = [], 0
    if part:
        yield part


def _words(text: str) -> list[str]:
    """The words of a text; for a short one its folded text, marked, repeated to fill a shingle."""
    found = words(text)
    return found if len(found) >= SHINGLE else [f"\x1f{' '.join(fold(text).split())}"] * SHINGLE


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
