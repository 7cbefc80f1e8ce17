"""Which prompts are generated for over one copy of what they begin with.

    sorted prompts   shots of task A | question 1       a group, which shares the shots of A
                     shots of task A | question 2
                     shots of task B | question 3       another
                     shots of task B | question 4

A group's common keys and values are kept and read once for all of its rows, at every token.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from brulee.inference.branches import Ints, common

LEAST = 16  # tokens below which sharing costs more than it spares


@dataclass(frozen=True)
class Group:
    """Prompts start to stop of the sorted ones, which share their first `tokens` tokens."""

    start: int
    stop: int
    tokens: int


def group(prompts: Sequence[Sequence[int]]) -> list[Group]:
    """Parts the sorted prompts where their parts share more than they do together."""
    arrays = [np.array(p, dtype=np.int64) for p in prompts]
    shared = np.array([common(a, b) for a, b in itertools.pairwise(arrays)], np.int64)
    found, open_ranges = [], [(0, len(prompts))] if prompts else []
    while open_ranges:
        start, stop = open_ranges.pop()
        parts = _parted(shared, start, stop)
        together = _spared(shared, start, stop)
        if len(parts) > 1 and sum(_spared(shared, a, b) for a, b in parts) > together:
            open_ranges += reversed(parts)
        else:
            found.append(Group(start, stop, together // max(1, stop - start - 1)))
    return found


def _spared(shared: Ints, start: int, stop: int) -> int:
    """Tokens that are not kept again, if a range shares all that it has in common."""
    least = int(shared[start : stop - 1].min()) if stop - start > 1 else 0
    return (stop - start - 1) * least if least >= LEAST else 0


def _parted(shared: Ints, start: int, stop: int) -> list[tuple[int, int]]:
    """A range, cut wherever two neighbours have the least in common."""
    inside = shared[start : stop - 1]
    if not len(inside):
        return [(start, stop)]
    cuts = (np.flatnonzero(inside == inside.min()) + start + 1).tolist()
    bounds = [start, *cuts, stop]
    return list(itertools.pairwise(bounds))
