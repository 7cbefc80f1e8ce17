"""Near-duplicate texts: MinHash finds the candidates, exact Jaccard similarity decides."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import numpy as np

from brulee.data.shingles import Block, Shingler, counting, mix
from brulee.data.union_find import UnionFind

PERMUTATIONS = 128
Link = tuple[int, int, float]

# The highest probability of missing a pair at the threshold.
_MISSED = 1e-4
# The number of others that each text in a band's bucket is compared with: a bucket of thousands,
# for example with a shared preamble, would have millions of pairs.
_NEIGHBOURS = 16
# How far 128 values may underestimate a pair at the threshold: four standard deviations.
_SLACK = 0.15
_COMMON = 50
_MOST_PAIRS = 100_000
_FEW = 64  # texts, as in one of a mixture's many tasks
_MOST_KEPT = 30_000_000  # shingles, of 8 bytes each


def near_duplicates(texts: Sequence[str], threshold: float = 0.8) -> list[Link]:
    """Links (i, j, similarity), i < j, between texts with similar sets of 5-word shingles.

    Similarity is the exact Jaccard index of the two sets, at least `threshold`. A text of fewer
    than five words is a single shingle, punctuation included: "5 - 3" is not "5 + 3". Shingles that
    occur in more than half of all texts, and in more than 50, are ignored, as a preamble shared by
    all does not make texts similar. Texts that are already connected are not linked again, so a
    thousand versions of one text give about a thousand links.

    Candidates are pairs that agree in a band of their 128 MinHash values (Broder 1997, "On the
    resemblance and containment of documents"; Leskovec et al., "Mining of Massive Datasets", 3.4),
    so time grows with the number of texts, not of pairs; a pair at the threshold is missed once in
    10,000. Which texts are connected does not depend on their order, except for bands in which very
    many agree. Raises ValueError unless 0 < threshold <= 1.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold {threshold} is not in (0, 1]")
    shingles, joined = _Shingles(texts), UnionFind(len(texts))
    sums = np.empty(len(texts), np.uint64)
    signatures = np.empty((len(texts), PERMUTATIONS), np.uint16)
    candidates = [np.empty(0, np.uint64)]
    for at, block in shingles.blocks():
        sums[at] = np.add.reduceat(mix(block.hashes), block.starts)
        signatures[at] = _signature(block)
        if len(texts) > _COMMON:
            candidates.append(_frequent(block))
    links = [link for link in _equal(sums) if joined.join(link[0], link[1])]
    if shingles.leave_out_common(np.unique(np.concatenate(candidates))):
        for at, block in shingles.blocks():
            signatures[at] = _signature(block)
    return sorted([*links, *_similar(shingles, signatures, joined, threshold)])


class _Shingles:
    """The shingle hashes of texts, kept if they are few, else read again each time."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts, self._shingler = texts, Shingler()
        self._kept: list[Block] | None = None
        self._starts: list[int] = []
        self._common = np.empty(0, np.uint64)
        self.of = functools.lru_cache(maxsize=4_096)(self._of)

    def blocks(self) -> Iterator[tuple[slice, Block]]:
        """Yield all shingles that are not left out, with the numbers of their texts."""
        start = 0
        for block in self._all():
            end = start + len(block.starts)
            yield slice(start, end), _without(block, self._common)
            start = end

    def leave_out_common(self, candidates: np.ndarray) -> bool:
        """Leave out those candidates that are common, except in texts that have no others.

        Returns whether there are any.
        """
        if not len(candidates):
            return False
        totals = np.zeros(len(candidates), dtype=int)
        for _, block in self.blocks():
            there = block.hashes[np.isin(block.hashes, candidates)]
            hashes, counts = np.unique(there, return_counts=True)
            totals[np.searchsorted(candidates, hashes)] += counts
        self._common = candidates[totals > max(_COMMON, len(self._texts) / 2)]
        return len(self._common) > 0

    def _all(self) -> Iterator[Block]:
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[Block] = []
        room = _MOST_KEPT
        self._starts = [0]
        for block in self._shingler.blocks(self._texts):
            room -= len(block.hashes)
            self._starts.append(self._starts[-1] + len(block.starts))
            if room >= 0:
                kept.append(block)
            else:
                kept.clear()
            yield block
        self._kept = kept if room >= 0 else None

    def _of(self, i: int) -> frozenset[int]:
        """The shingles of one text."""
        if self._kept is None:
            hashes = self._shingler.of(self._texts[i])
        else:
            at = bisect_right(self._starts, i) - 1
            hashes = self._kept[at].of(i - self._starts[at])
        rare = hashes[~np.isin(hashes, self._common)]
        return frozenset((rare if len(rare) else hashes).tolist())


def _equal(sums: np.ndarray) -> list[Link]:
    """Link each text to the first earlier text with the same shingles, if any."""
    _, firsts, inverse = np.unique(sums, return_index=True, return_inverse=True)
    owners = firsts[inverse]
    later = np.flatnonzero(owners != np.arange(len(owners)))
    return [(int(owners[i]), int(i), 1.0) for i in later]


def _frequent(block: Block) -> np.ndarray:
    """The shingles of more than half of a block's texts.

    A shingle of most texts is one of them in at least one block, so only these need to be counted.
    """
    hashes, counts = np.unique(block.hashes, return_counts=True)
    frequent: np.ndarray = hashes[counts * 2 > len(block.starts)]
    return frequent


def _without(block: Block, hashes: np.ndarray) -> Block:
    if not len(hashes):
        return block
    texts = np.arange(len(block.starts))
    owners = np.searchsorted(block.starts, np.arange(len(block.hashes)), side="right") - 1
    kept = ~np.isin(block.hashes, hashes)
    emptied = np.bincount(owners[kept], minlength=len(texts)) == 0
    kept |= emptied[owners]
    return Block(block.hashes[kept], np.searchsorted(owners[kept], texts))


@functools.cache
def _band_size(threshold: float) -> int:
    """The largest band size at which a pair at the threshold almost surely agrees in some band."""
    sizes = range(1, PERMUTATIONS + 1)
    missed = {size: (1 - threshold**size) ** (PERMUTATIONS // size) for size in sizes}
    return max([size for size in sizes if missed[size] <= _MISSED], default=1)


@functools.cache
def _permutations() -> tuple[np.ndarray, np.ndarray]:
    """Odd factors and offsets of h -> (a h + b) mod 2^64, of which the upper half is used."""
    draw = np.random.Generator(np.random.PCG64(0))
    factors = draw.integers(2**64, size=PERMUTATIONS, dtype=np.uint64) | np.uint64(1)
    return factors, draw.integers(2**64, size=PERMUTATIONS, dtype=np.uint64)


def _signature(block: Block) -> np.ndarray:
    """(texts of the block, 128) MinHash values, 16 bits of each."""
    permuted = (
        np.minimum.reduceat((block.hashes * a + b) >> np.uint64(32), block.starts)
        for a, b in zip(*_permutations(), strict=True)
    )
    return np.stack([minimum.astype(np.uint16) for minimum in permuted], axis=1)


def _similar(
    shingles: _Shingles, signatures: np.ndarray, joined: UnionFind, threshold: float
) -> list[Link]:
    """Links between the texts that are not yet joined, found one band after the other."""
    distinct = np.flatnonzero(joined.roots() == np.arange(len(signatures)))
    if len(distinct) < 2:
        return []
    if len(distinct) < len(signatures):
        signatures = signatures[distinct]
    size = _band_size(threshold)
    if len(distinct) <= _FEW and not _agree_somewhere(signatures, size):
        return []
    links: list[Link] = []
    bands = range(0, PERMUTATIONS - size + 1, size)
    with counting("Comparing texts", len(distinct), len(bands), "passes") as advance:
        for start in bands:
            for pairs in _agreeing(signatures, start, size):
                roots = joined.roots()[distinct]
                apart = pairs[roots[pairs[:, 0]] != roots[pairs[:, 1]]]
                alike = (signatures[apart[:, 0]] == signatures[apart[:, 1]]).mean(axis=1)
                likely = np.sort(distinct[apart[alike >= threshold - _SLACK]])
                links += _links(likely.tolist(), shingles, joined, threshold)
            advance(1)
    return links


def _agree_somewhere(signatures: np.ndarray, size: int) -> bool:
    """Whether any two signatures are equal in a band; all bands are compared at once."""
    bands = signatures[:, : PERMUTATIONS // size * size].reshape(len(signatures), -1, size)
    keys = np.zeros(bands.shape[:2], dtype=np.uint64)
    for offset in range(size):
        keys = mix(keys * np.uint64(31) + bands[:, :, offset])
    keys.sort(axis=0)
    return bool((keys[1:] == keys[:-1]).any())


def _agreeing(signatures: np.ndarray, start: int, size: int) -> Iterator[np.ndarray]:
    """Yield pairs (K, 2) of signatures that are equal in a band, the closest neighbours first."""
    keys = np.zeros(len(signatures), dtype=np.uint64)
    for value in signatures[:, start : start + size].T:
        keys = mix(keys * np.uint64(31) + value)
    # Sorting each bucket by one more value puts the most likely pairs next to each other.
    order = np.lexsort((signatures[:, (start + size) % PERMUTATIONS], keys))
    keys = keys[order]
    for apart in range(1, min(_NEIGHBOURS + 1, len(keys))):
        agree = np.flatnonzero(keys[apart:] == keys[:-apart])
        if not len(agree):
            return
        for some in np.array_split(agree, len(agree) // _MOST_PAIRS + 1):
            yield np.stack([order[some], order[some + apart]], axis=1)


def _links(
    pairs: list[list[int]], shingles: _Shingles, joined: UnionFind, threshold: float
) -> list[Link]:
    links = []
    for i, j in pairs:
        left, right = shingles.of(i), shingles.of(j)
        shared = len(left & right)
        similarity = shared / (len(left) + len(right) - shared)
        if similarity >= threshold and joined.join(i, j):
            links.append((i, j, similarity))
    return links
