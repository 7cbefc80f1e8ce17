"""Near-duplicate texts: MinHash finds the candidates, exact Jaccard similarity decides."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

SHINGLE = 5
PERMUTATIONS = 128
# Candidates are sought below the threshold: an estimate that falls short must not hide a pair.
_SLACK = 0.2


def near_duplicates(texts: Sequence[str], threshold: float = 0.8) -> list[tuple[int, int, float]]:
    """Pairs (i, j, similarity) with i < j whose word 5-shingles overlap by `threshold` or more.

    Similarity is the exact Jaccard index of the two sets of shingles; a text of fewer than five
    words is one shingle. Candidates come from locality-sensitive hashing of 128 MinHash values
    (Broder 1997, "On the resemblance and containment of documents"; library `datasketch`), so
    time grows with the number of texts, not of pairs. Raises ValueError unless 0 < threshold <= 1.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold {threshold} is not in (0, 1]")
    sets = [shingles(text) for text in texts]
    pairs = _candidates(sets, max(threshold - _SLACK, 0.1))
    scored = [(i, j, jaccard(sets[i], sets[j])) for i, j in sorted(pairs)]
    return [pair for pair in scored if pair[2] >= threshold]


def shingles(text: str) -> frozenset[str]:
    """The runs of five words in a text, without case and punctuation; none for no words."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())
    starts = range(max(len(words) - SHINGLE + 1, 1)) if words else ()
    return frozenset(" ".join(words[start : start + SHINGLE]) for start in starts)


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """Shared shingles as a fraction of all; two texts without words are the same text."""
    return len(left & right) / len(left | right) if left or right else 1.0


def _candidates(sets: Sequence[frozenset[str]], threshold: float) -> set[tuple[int, int]]:
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
    pairs: set[tuple[int, int]] = set()
    for i, shingled in enumerate(sets):
        signature = MinHash(num_perm=PERMUTATIONS)
        signature.update_batch([s.encode() for s in sorted(shingled)])
        pairs.update((j, i) for j in index.query(signature))
        index.insert(i, signature)
    return pairs
