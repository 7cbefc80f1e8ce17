"""The longest common subsequence of two token sequences.

A sequence is a string with one code point per token. The length comes from rapidfuzz (Hyyrö's
bit-parallel algorithm). The matched reference tokens come from the same recurrence over Python
integers, because several alignments can have the same length and rouge_score picks a specific one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rapidfuzz.distance import LCSseq


def length(a: str, b: str) -> int:
    """The length of the longest common subsequence."""
    return LCSseq.similarity(a, b)


def union_hits(references: Sequence[str], candidates: Sequence[str], clip: bool = True) -> int:
    """The number of reference tokens covered by the union LCS over all candidate sentences.

    Aligns each reference sentence with every candidate sentence and takes the union of the hits
    (Lin 2004, section 3.2). With `clip`, a token counts at most as often as it occurs on either
    side, as in ROUGE-1.5.5 and rouge_score 0.1.2; the latter breaks alignment ties the same way.
    """
    found: Counter[str] = Counter()
    for reference in references:
        used: set[int] = set().union(*(positions(reference, candidate) for candidate in candidates))
        found.update(reference[position] for position in used)
    if not clip:
        return found.total()
    return (found & Counter("".join(references)) & Counter("".join(candidates))).total()


def positions(reference: Sequence[str], candidate: Sequence[str]) -> list[int]:
    """Positions in the reference of one longest common subsequence.

    With t[i][j] the length for the first i and j tokens, bit i-1 of columns[j] is clear if
    t[i][j] = t[i-1][j] + 1 (Hyyrö 2004); that bit decides each step of the backtracking.
    """
    columns = _columns(reference, candidate)
    i, j = len(reference), len(candidate)
    found = []
    while i and j:
        if reference[i - 1] == candidate[j - 1]:
            i, j = i - 1, j - 1
            found.append(i)
        elif columns[j] >> (i - 1) & 1:
            i -= 1
        else:
            j -= 1
    return found


def _columns(reference: Sequence[str], candidate: Sequence[str]) -> list[int]:
    masks: dict[str, int] = {}
    for position, token in enumerate(reference):
        masks[token] = masks.get(token, 0) | 1 << position
    full = (1 << len(reference)) - 1
    column = full
    columns = [column]
    for token in candidate:
        matched = column & masks.get(token, 0)
        column = ((column + matched) | (column - matched)) & full
        columns.append(column)
    return columns
