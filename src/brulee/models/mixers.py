"""Token mixers other than attention: the model's own module, given each document in its own row.

Linear attention, state spaces and short convolutions carry a state from token to token. In a pack,
it would run from one document into the next, so the pack is taken apart and put together again:

    pack   |- shared -|-- a --|- b -|        rows   |- shared -|-- a --|
                                                    |- shared -|- b -|..

A mixer is causal, so neither padding at the end of a row nor the other rows change what a document
gets, and the trial (fused_trial.py) finds one for which this is wrong. The module is called as it
is, with whatever a method put into it. A common beginning is mixed once for each document that
continues it, since only the module knows its state.

Shapes: `T` rows of the pack, `Q` rows that the layer returns, `B` documents of a call, `L` tokens
of the longest of them, `D` width.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from brulee.models.spans import Span

# Shorter documents get a call of their own if that saves more than so many rows of padding: a call
# is hundreds of small operations whatever its size.
_PADDING = 128


@dataclass(frozen=True)
class Apart:
    """Where the rows of documents are in a pack, and where the pack's rows are in documents.

    `calls` has an index (B, L) among the T rows for each call; padding repeats a document's last
    row. `back` (Q) is an index among the calls' rows end to end.
    """

    calls: tuple[torch.Tensor, ...]
    back: torch.Tensor


def apart(spans: Sequence[Span], device: torch.device) -> Apart:
    """How to take a pack apart whose queries are those of the spans (spans.py), end to end."""
    common = spans[0] if any(span.shared for span in spans[1:]) and not spans[0].shared else None
    own = spans if common is None else spans[1:]
    order = sorted(range(len(own)), key=lambda at: -own[at].read)
    calls, begins, begin = list[torch.Tensor](), [0] * len(own), 0
    for group in _alike(own, order):
        longest = own[group[0]].read
        for row, at in enumerate(group):
            begins[at] = begin + row * longest
        calls.append(torch.stack([_rows(own[at], longest) for at in group]))
        begin += len(group) * longest
    # The first document that continues the common rows returns them.
    back = []
    if common is not None:
        back += [torch.arange(common.read - common.asked, common.read) + begins[0]]
    back += [
        torch.arange(span.read - span.asked, span.read) + at
        for span, at in zip(own, begins, strict=True)
    ]
    moved = tuple(index.to(device, non_blocking=True) for index in (torch.cat(back), *calls))
    return Apart(moved[1:], moved[0])


def mixed(own: nn.Module, x_TD: torch.Tensor, where: Apart, rows: int) -> torch.Tensor:
    """The module's output for Q rows, in documents of their own; zeros up to `rows` (padding)."""
    nothing = dict.fromkeys(_required(own))
    made = []
    for index_BL in where.calls:
        x_BLD = x_TD.index_select(0, index_BL.flatten()).view(*index_BL.shape, -1)
        found: Any = own(x_BLD, **nothing)
        found = found[0] if isinstance(found, tuple) else found
        made.append(found.flatten(0, 1))
    every = made[0] if len(made) == 1 else torch.cat(made)
    asked_QD = every.index_select(0, where.back)
    more = rows - len(asked_QD)
    return torch.cat([asked_QD, asked_QD.new_zeros(more, asked_QD.shape[1])]) if more else asked_QD


def _alike(spans: Sequence[Span], order: Sequence[int]) -> list[list[int]]:
    """Documents in groups of similar lengths, from the longest to the shortest."""
    groups: list[list[int]] = []
    for done, at in enumerate(order):
        left = len(order) - done
        if not groups or left * (spans[groups[-1][0]].read - spans[at].read) > _PADDING:
            groups.append([])
        groups[-1].append(at)
    return groups


def _rows(span: Span, longest: int) -> torch.Tensor:
    """The rows of a document among the pack's, (L), padded with its last one."""
    shared, own = torch.arange(span.shared), torch.arange(span.keys.start, span.keys.stop)
    last = own[-1:].expand(longest - span.read)
    return torch.cat([shared, own, last])


def _required(own: nn.Module) -> list[str]:
    """Parameters of a module's forward without a default, after the hidden states."""
    given = list(inspect.signature(own.forward).parameters.values())[1:]
    named = [p for p in given if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return [p.name for p in named if p.default is p.empty]
