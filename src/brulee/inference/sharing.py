"""Grouping of prompts that share one copy of a common prefix.

    sorted prompts   shots of task A | question 1       a group, which shares the shots of A
                     shots of task A | question 2
                     shots of task B | question 3       another
                     shots of task B | question 4

A group's common keys and values are stored once and read once per token for all of its rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from brulee.inference.branches import Ints, common

LEAST = 16  # with fewer tokens, sharing costs more than it saves


@dataclass(frozen=True)
class Group:
    """Prompts start to stop of the sorted ones, which share their first `tokens` tokens."""

    start: int
    stop: int
    tokens: int


def group(prompts: Sequence[Sequence[int]]) -> list[Group]:
    """Divide sorted prompts into groups, wherever the parts share more than the whole does."""
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
    """Tokens saved if a range shares its whole common prefix."""
    least = int(shared[start : stop - 1].min()) if stop - start > 1 else 0
    return (stop - start - 1) * least if least >= LEAST else 0


def _parted(shared: Ints, start: int, stop: int) -> list[tuple[int, int]]:
    """A range, divided wherever two neighbours have the shortest common prefix."""
    inside = shared[start : stop - 1]
    if not len(inside):
        return [(start, stop)]
    cuts = (np.flatnonzero(inside == inside.min()) + start + 1).tolist()
    bounds = [start, *cuts, stop]
    return list(itertools.pairwise(bounds))
