"""Prompts that are generated for together: alike in how much room their rows take.

The rows of a wave have room for as many tokens each as its longest needs, so that prompts go with
others of at most twice their size, or with all that there is room for at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from brulee.inference.sharing import Group, group


@dataclass(frozen=True)
class Wave:
    """Indices of prompts, sorted by their tokens, with their groups; `room` own tokens a row."""

    prompts: tuple[int, ...]
    groups: tuple[Group, ...]
    rows: int
    room: int


@dataclass(frozen=True)
class _Member:
    rank: int  # among the sorted prompts
    prompt: int
    group: Group
    room: int


def waves(
    prompts: Sequence[Sequence[int]],
    most: Sequence[int],
    tokens: int,
    copies: int = 1,
    kinds: Sequence[int] | None = None,
) -> list[Wave]:
    """Every prompt, followed by at most most[i] tokens, in waves whose rows hold so many tokens.

    A prompt that is continued in several `copies` shares all of itself with these, and no others.
    Prompts of different `kinds` share nothing, and those of one stand together in a wave.
    """
    kinds = kinds or [0] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: (kinds[i], tuple(prompts[i])))
    ranked = [prompts[i] for i in order]
    alone = [Group(k, k + 1, len(p)) for k, p in enumerate(ranked)]
    groups = _grouped(ranked, [kinds[i] for i in order]) if copies == 1 else alone
    members = [
        _Member(k, order[k], one, len(ranked[k]) - one.tokens + most[order[k]])
        for one in groups
        for k in range(one.start, one.stop)
    ]
    sizes = sorted({_size(member) for member in members})
    together: list[list[_Member]] = []
    for alike in ([m for m in members if _size(m) == size] for size in sizes):
        # One wave goes on with many rows for as long as two do one after the other.
        joined = [*together[-1], *alike] if together else []
        if joined and copies * len(joined) * max(m.room for m in joined) <= tokens:
            together[-1] = sorted(joined, key=lambda m: m.rank)
        else:
            together.append(alike)
    return [_wave(part, tokens, copies) for part in together]


def _grouped(ranked: Sequence[Sequence[int]], kinds: Sequence[int]) -> list[Group]:
    groups, start = [], 0
    for _, alike in itertools.groupby(kinds):
        stop = start + len(list(alike))
        own = group(ranked[start:stop])
        groups += [Group(g.start + start, g.stop + start, g.tokens) for g in own]
        start = stop
    return groups


def _size(member: _Member) -> int:
    return (member.room - 1).bit_length()


def _wave(members: Sequence[_Member], tokens: int, copies: int) -> Wave:
    groups, start = [], 0
    for one, of_group in itertools.groupby(members, key=lambda m: m.group):
        count = len(list(of_group))
        groups.append(Group(start, start + count, one.tokens))
        start += count
    room = max(m.room for m in members)
    rows = copies * max(1, min(tokens // room // copies, len(members)))
    return Wave(tuple(m.prompt for m in members), tuple(groups), rows, room)
