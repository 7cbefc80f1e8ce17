"""Near-duplicate texts: MinHash finds the candidates, exact Jaccard similarity decides."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from brulee.data.shingles import BLOCK, Block, counting, mix, read_blocks
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
    blocks = list(read_blocks(texts))
    joined = UnionFind(len(texts))
    links = [link for link in _equal(blocks) if joined.join(link[0], link[1])]
    distinct = np.flatnonzero(joined.roots() == np.arange(len(texts)))
    links += _similar(_without_common(blocks), distinct, joined, threshold)
    return sorted(links)


def _equal(blocks: list[Block]) -> list[Link]:
    """Link each text to the first earlier text with the same shingles, if any."""
    sums = [np.add.reduceat(mix(b.hashes), b.starts) for b in blocks]
    if not sums:
        return []
    _, firsts, inverse = np.unique(np.concatenate(sums), return_index=True, return_inverse=True)
    owners = firsts[inverse]
    later = np.flatnonzero(owners != np.arange(len(owners)))
    return [(int(owners[i]), int(i), 1.0) for i in later]


def _without_common(blocks: list[Block]) -> list[Block]:
    """The blocks without common shingles, except in texts that have no others."""
    # A shingle of most texts is in most texts of at least one block. Only those few candidates need
    # memory in addition to the blocks, which are as large as the texts.
    often = [np.empty(0, np.uint64)]
    for block in blocks:
        hashes, counts = np.unique(block.hashes, return_counts=True)
        often.append(hashes[counts * 2 > len(block.starts)])
    candidates = np.unique(np.concatenate(often))
    if not len(candidates):
        return blocks
    totals = np.zeros(len(candidates), dtype=int)
    for block in blocks:
        there = block.hashes[np.isin(block.hashes, candidates)]
        hashes, counts = np.unique(there, return_counts=True)
        totals[np.searchsorted(candidates, hashes)] += counts
    texts = sum(len(block.starts) for block in blocks)
    common = candidates[totals > max(_COMMON, texts / 2)]
    return [_without(block, common) for block in blocks] if len(common) else blocks


def _without(block: Block, hashes: np.ndarray) -> Block:
    texts = np.arange(len(block.starts))
    owners = np.searchsorted(block.starts, np.arange(len(block.hashes)), side="right") - 1
    kept = ~np.isin(block.hashes, hashes)
    emptied = np.bincount(owners[kept], minlength=len(texts)) == 0
    kept |= emptied[owners]
    return Block(block.hashes[kept], np.searchsorted(owners[kept], texts))


class _Sets:
    """The shingle hashes of each text as a set, cached for recent ones."""

    def __init__(self, blocks: list[Block]) -> None:
        self._blocks = blocks
        self.of = functools.lru_cache(maxsize=4_096)(self._read)

    def _read(self, i: int) -> frozenset[int]:
        block = self._blocks[i // BLOCK]
        return frozenset(block.of(i % BLOCK).tolist())


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
    blocks: list[Block], distinct: np.ndarray, joined: UnionFind, threshold: float
) -> list[Link]:
    """Links between the texts in `distinct`, found one band after the other."""
    if len(distinct) < 2:
        return []
    signatures = np.concatenate([_signature(block) for block in blocks])[distinct]
    sets = _Sets(blocks)
    size = _band_size(threshold)
    links: list[Link] = []
    bands = range(0, PERMUTATIONS - size + 1, size)
    with counting("Comparing texts", len(distinct), len(bands), "passes") as advance:
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


def _links(pairs: list[list[int]], sets: _Sets, joined: UnionFind, threshold: float) -> list[Link]:
    links = []
    for i, j in pairs:
        left, right = sets.of(i), sets.of(j)
        shared = len(left & right)
        similarity = shared / (len(left) + len(right) - shared)
        if similarity >= threshold and joined.join(i, j):
            links.append((i, j, similarity))
    return links
