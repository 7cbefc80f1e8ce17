"""The weighted longest common subsequence, which favours consecutive matches (Lin 2004, section 4).

A run of k consecutive matches weighs k ** weight, so with a weight above 1 the same words count
more if they are consecutive.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def weighted_length(a: Sequence[str], b: Sequence[str], weight: float) -> float:
    """The weight of the best alignment, by the paper's recurrence."""
    scores, _ = _table(a, b, weight)
    return scores[-1][-1]


def weighted_positions(
    reference: Sequence[str], candidate: Sequence[str], weight: float
) -> list[int]:
    """Positions in the reference of the matched tokens, ascending.

    Breaks ties as ROUGE-1.5.5 does: backtracking steps over the reference first.
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
    """Best weights (len(a) + 1, len(b) + 1), and the length of the run ending at each match."""
    # The gain of extending a run from k - 1 to k matches: k ** weight - (k - 1) ** weight.
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
