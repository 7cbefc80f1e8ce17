"""Near-duplicate texts: MinHash finds the candidates, exact Jaccard similarity decides."""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from brulee.data.union_find import UnionFind
from brulee.progress import bar

SHINGLE = 5
PERMUTATIONS = 128
Link = tuple[int, int, float]

# Chinese, Japanese and Thai write no spaces: there a letter counts as a word.
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
# A pair at the threshold is overlooked no more often than this.
_MISSED = 1e-4
# Of texts that agree in a band, each is compared with this many others: a band in which thousands
# agree, say by a shared preamble, would have millions of pairs.
_NEIGHBOURS = 16
# How far below the threshold 128 values may estimate a pair at it: four standard deviations.
_SLACK = 0.15
_COMMON = 50
_BLOCK = 2_000
_MOST_PAIRS = 100_000
_WORTH_A_BAR = 20_000


def near_duplicates(texts: Sequence[str], threshold: float = 0.8) -> list[Link]:
    """Links (i, j, similarity), i < j, that join the texts whose 5-word shingles mostly agree.

    Similarity is the exact Jaccard index of the two sets of `shingles`, `threshold` or more; a
    shingle of more than half of all texts, and of more than 50, is left out of the sets, since a
    preamble that all share makes no two of them alike. Texts that others already link are not
    linked again, so that a thousand versions of one text give
    about a thousand links. Candidates agree in a band of their 128 MinHash values (Broder 1997,
    "On the resemblance and containment of documents"; Leskovec et al., "Mining of Massive
    Datasets", 3.4), so time grows with the number of texts, not of pairs; a pair at the threshold
    goes unseen once in 10,000. The result does not depend on the order of the texts but for huge
    bands. Raises ValueError unless 0 < threshold <= 1.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold {threshold} is not in (0, 1]")
    blocks = list(_read(texts))
    joined = UnionFind(len(texts))
    links = [link for link in _equal(blocks) if joined.join(link[0], link[1])]
    distinct = np.flatnonzero(joined.roots() == np.arange(len(texts)))
    links += _similar(_without_common(blocks), distinct, joined, threshold)
    return sorted(links)


def shingles(text: str) -> frozenset[str]:
    """The runs of five words in a text, without case and punctuation.

    A text of fewer words is one shingle, punctuation and all: "5 - 3" is not "5 + 3".
    """
    words = _words(text)
    return frozenset(" ".join(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1))


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """Shared shingles as a fraction of all."""
    return len(left & right) / len(left | right)


def _words(text: str) -> list[str]:
    """The words of a text; of a short one what is read, marked, as often as a shingle is long."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    words = _WORD.findall(plain)
    return words if len(words) >= SHINGLE else [f"\x1f{' '.join(plain.split())}"] * SHINGLE


@dataclass(frozen=True)
class _Block:
    """Hashes of the distinct shingles of some texts, one text after the other, ascending in each.

    `starts` says where each text begins.
    """

    hashes: np.ndarray
    starts: np.ndarray

    def of(self, i: int) -> np.ndarray:
        """The hashes of one of the texts."""
        return self.hashes[
            self.starts[i] : self.starts[i + 1] if i + 1 < len(self.starts) else None
        ]


class _WordHashes(dict[str, int]):
    def __missing__(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[word] = int.from_bytes(digest)
        return self[word]


def _read(texts: Sequence[str]) -> Iterator[_Block]:
    hashes = _WordHashes()
    with _bar("Reading texts", len(texts), len(texts), "texts") as advance:
        for start in range(0, len(texts), _BLOCK):
            block = texts[start : start + _BLOCK]
            words = [[hashes[word] for word in _words(text)] for text in block]
            yield _block(words)
            advance(len(block))


def _block(words: list[list[int]]) -> _Block:
    counts = np.array([len(w) for w in words])
    flat = np.array([w for text in words for w in text], dtype=np.uint64)
    owners = np.repeat(np.arange(len(words)), counts)
    last = len(flat) - SHINGLE + 1
    mixed = functools.reduce(
        lambda so_far, offset: _mix(so_far * np.uint64(31) + flat[offset : offset + last]),
        range(1, SHINGLE),
        _mix(flat[:last]),
    )
    inside = owners[:last] == owners[SHINGLE - 1 :]
    hashes, owners = mixed[inside], owners[:last][inside]
    order = np.lexsort((hashes, owners))
    hashes, owners = hashes[order], owners[order]
    first = np.ones(len(hashes), dtype=bool)
    first[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    return _Block(hashes[first], np.searchsorted(owners[first], np.arange(len(words))))


def _mix(values: np.ndarray) -> np.ndarray:
    """Every bit of a 64-bit value spread over all others (the finaliser of MurmurHash3)."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def _without_common(blocks: list[_Block]) -> list[_Block]:
    """The blocks without what most texts say; a text that says nothing else keeps it."""
    counted = [np.unique(block.hashes, return_counts=True) for block in blocks]
    # What most texts say, most texts of some block say.
    often = [
        hashes[counts * 2 > len(block.starts)]
        for block, (hashes, counts) in zip(blocks, counted, strict=True)
    ]
    candidates = np.unique(np.concatenate([np.empty(0, np.uint64), *often]))
    totals = np.zeros(len(candidates), dtype=int)
    for hashes, counts in counted:
        there = np.isin(hashes, candidates)
        totals[np.searchsorted(candidates, hashes[there])] += counts[there]
    texts = sum(len(block.starts) for block in blocks)
    common = candidates[totals > max(_COMMON, texts / 2)]
    return [_without(block, common) for block in blocks] if len(common) else blocks


def _without(block: _Block, hashes: np.ndarray) -> _Block:
    texts = np.arange(len(block.starts))
    owners = np.searchsorted(block.starts, np.arange(len(block.hashes)), side="right") - 1
    kept = ~np.isin(block.hashes, hashes)
    emptied = np.bincount(owners[kept], minlength=len(texts)) == 0
    kept |= emptied[owners]
    return _Block(block.hashes[kept], np.searchsorted(owners[kept], texts))


class _Sets:
    """The shingle hashes of each text as a set, kept for those asked for lately."""

    def __init__(self, blocks: list[_Block]) -> None:
        self._blocks = blocks
        self.of = functools.lru_cache(maxsize=4_096)(self._read)

    def _read(self, i: int) -> frozenset[int]:
        block = self._blocks[i // _BLOCK]
        return frozenset(block.of(i % _BLOCK).tolist())


def _equal(blocks: list[_Block]) -> list[Link]:
    """Each text whose shingles are those of an earlier one, linked to the first of these."""
    sums = [np.add.reduceat(_mix(b.hashes), b.starts) for b in blocks]
    if not sums:
        return []
    _, firsts, inverse = np.unique(np.concatenate(sums), return_index=True, return_inverse=True)
    owners = firsts[inverse]
    later = np.flatnonzero(owners != np.arange(len(owners)))
    return [(int(owners[i]), int(i), 1.0) for i in later]


def _band_size(threshold: float) -> int:
    """The most values a band may have such that a pair at the threshold agrees in some band."""
    sizes = range(1, PERMUTATIONS + 1)
    missed = {size: (1 - threshold**size) ** (PERMUTATIONS // size) for size in sizes}
    return max([size for size in sizes if missed[size] <= _MISSED], default=1)


@functools.cache
def _permutations() -> tuple[np.ndarray, np.ndarray]:
    """Odd factors and offsets of h -> (a h + b) mod 2^64, whose upper half is compared."""
    draw = np.random.Generator(np.random.PCG64(0))
    factors = draw.integers(2**64, size=PERMUTATIONS, dtype=np.uint64) | np.uint64(1)
    return factors, draw.integers(2**64, size=PERMUTATIONS, dtype=np.uint64)


def _signature(block: _Block) -> np.ndarray:
    """(texts of the block, 128) minima of the permuted hashes, 16 bits of each."""
    permuted = (
        np.minimum.reduceat((block.hashes * a + b) >> np.uint64(32), block.starts)
        for a, b in zip(*_permutations(), strict=True)
    )
    return np.stack([minimum.astype(np.uint16) for minimum in permuted], axis=1)


def _similar(
    blocks: list[_Block], distinct: np.ndarray, joined: UnionFind, threshold: float
) -> list[Link]:
    """Links between the texts in `distinct`, found band by band."""
    if len(distinct) < 2:
        return []
    signatures = np.concatenate([_signature(block) for block in blocks])[distinct]
    sets = _Sets(blocks)
    size = _band_size(threshold)
    links: list[Link] = []
    bands = range(0, PERMUTATIONS - size + 1, size)
    with _bar("Comparing texts", len(distinct), len(bands), "passes") as advance:
        for start in bands:
            for pairs in _agreeing(signatures, start, size):
                roots = joined.roots()[distinct]
                apart = pairs[roots[pairs[:, 0]] != roots[pairs[:, 1]]]
                alike = (signatures[apart[:, 0]] == signatures[apart[:, 1]]).mean(axis=1)
                likely = np.sort(distinct[apart[alike >= threshold - _SLACK]])
                links += _links(likely.tolist(), sets, joined, threshold)
            advance(1)
    return links


def _agreeing(signatures: np.ndarray, start: int, size: int) -> Iterator[np.ndarray]:
    """Pairs (K, 2) of signatures that are equal in a band, the closest neighbours first."""
    keys = np.zeros(len(signatures), dtype=np.uint64)
    for value in signatures[:, start : start + size].T:
        keys = _mix(keys * np.uint64(31) + value)
    # Among those that agree, another value puts the likeliest pairs side by side.
    order = np.lexsort((signatures[:, (start + size) % PERMUTATIONS], keys))
    keys = keys[order]
    for apart in range(1, min(_NEIGHBOURS + 1, len(keys))):
        agree = np.flatnonzero(keys[apart:] == keys[:-apart])
        if not len(agree):
            return
        for some in np.array_split(agree, len(agree) // _MOST_PAIRS + 1):
            yield np.stack([order[some], order[some + apart]], axis=1)


def _links(pairs: list[list[int]], sets: _Sets, joined: UnionFind, threshold: float) -> list[Link]:
    links = []
    for i, j in pairs:
        left, right = sets.of(i), sets.of(j)
        shared = len(left & right)
        similarity = shared / (len(left) + len(right) - shared)
        if similarity >= threshold and joined.join(i, j):
            links.append((i, j, similarity))
    return links


@contextmanager
def _bar(description: str, texts: int, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """A bar where there is enough to do for one to be seen."""
    if texts < _WORTH_A_BAR:
        yield lambda _count: None
        return
    with bar(description, total=total, unit=unit) as progress:
        yield progress.advance
