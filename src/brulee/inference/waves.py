"""Waves: batches of prompts whose rows need similar room.

All rows of a wave have room for as many tokens as its longest needs, so a prompt shares a wave with
others of at most twice its size, or with all prompts if they fit at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from brulee.inference.sharing import Group, group


@dataclass(frozen=True)
class Wave:
    """Indices of prompts, sorted by their tokens, with their groups; `room` own tokens per row."""

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
    """Waves of all prompts, each with most[i] new tokens; a wave's rows hold `tokens` tokens.

    The `copies` of a prompt share all of it, and nothing with other prompts. Prompts of different
    `kinds` share nothing; those of one kind are adjacent in a wave.
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
        # One wave of many rows takes no longer than two waves in sequence.
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
