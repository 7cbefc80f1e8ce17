"""The weighted longest common subsequence, which prefers runs (Lin 2004, section 4).

A run of k matches in a row weighs k ** weight, so that with a weight above 1 the same words count
for more where they stand together.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def weighted_length(a: Sequence[str], b: Sequence[str], weight: float) -> float:
    """The weight of the best alignment by the recurrence of the paper."""
    scores, _ = _table(a, b, weight)
    return scores[-1][-1]


def weighted_positions(
    reference: Sequence[str], candidate: Sequence[str], weight: float
) -> list[int]:
    """Positions in the reference of the tokens that the alignment matches, ascending.

    Ties are broken as in ROUGE-1.5.5: a step back goes over the reference first.
    """
    scores, matched = _table(reference, candidate, weight)
    i, j = len(reference), len(candidate)
    positions = []
    while i and j:
        if matched[i][j]:
            i, j = i - 1, j - 1
            positions.append(i)
        elif scores[i - 1][j] >= scores[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return positions[::-1]


def _table(
    a: Sequence[str], b: Sequence[str], weight: float
) -> tuple[list[list[float]], list[list[int]]]:
    """Best weights (len(a) + 1, len(b) + 1), and the length of the run that ends at each match."""
    # What a match adds to a run of k - 1: k ** weight - (k - 1) ** weight.
    powers = [k**weight for k in range(min(len(a), len(b)) + 2)]
    steps = [after - before for before, after in pairwise(powers)]
    scores = [[0.0] * (len(b) + 1)]
    runs = [[0] * (len(b) + 1)]
    for token in a:
        above, run_above = scores[-1], runs[-1]
        row, run = [0.0], [0]
        for j, other in enumerate(b):
            if token == other:
                run.append(run_above[j] + 1)
                row.append(above[j] + steps[run_above[j]])
            else:
                run.append(0)
                row.append(max(above[j + 1], row[j]))
        scores.append(row)
        runs.append(run)
    return scores, runs
