"""Writing on after prompts, many at a time: a row that is finished makes room for the next prompt.

Shapes: `B` rows, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from brulee.inference.sampling import Sampling, generators, next_tokens


class Decoder(Protocol):
    """Prompts of which some wait and some are rows, each of which takes a token at a time."""

    @property
    def waiting(self) -> int:
        """Prompts that have not been read."""

    @property
    def free(self) -> int:
        """Rows that there is room for."""

    def admit(self, most: int) -> tuple[list[int], torch.Tensor]:
        """Read the next prompts, at most so many: which they are, and logits (N, V) after each."""

    def push(self, tokens_B: torch.Tensor) -> torch.Tensor:
        """Append a token to every row; logits (B, V) after it."""

    def drop(self, gone: list[int]) -> list[int]:
        """Forget rows; returns which of the rows before is now at each place."""

    def select(self, parents: list[int]) -> None:
        """Put a copy of row parents[i] at every place i."""


@dataclass(frozen=True)
class Order:
    """A prompt's number among the requests, and how many tokens may follow it."""

    request: int
    most: int


@dataclass
class _Live:
    order: Order
    stream: torch.Generator
    ids: list[int] = field(default_factory=list)


def write(
    decoder: Decoder,
    orders: Sequence[Order],
    sampling: Sampling,
    stop_ids: Collection[int],
    stopped: Callable[[list[int]], bool],
) -> Iterator[tuple[int, list[int]]]:
    """Each request and its ids, as soon as it is finished; orders[i] is of the decoder's prompt i.

    A completion ends before a token of `stop_ids`, after one with which it is `stopped`, or when it
    has all it may have.
    """
    live: list[_Live] = []
    logits_BV = torch.empty(0)
    while live or decoder.waiting:
        # Some at a time: a pass over several prompts costs little more than one over the first.
        if decoder.waiting and (not live or decoder.free >= max(1, len(live) // 4)):
            chosen, new = decoder.admit(decoder.free)
            streams = generators(sampling, [orders[i].request for i in chosen])
            live += [_Live(orders[i], s) for i, s in zip(chosen, streams, strict=True)]
            logits_BV = torch.cat([logits_BV.to(new), new]) if len(logits_BV) else new
        tokens_B = next_tokens(logits_BV, sampling, [row.stream for row in live])
        gone = []
        for at, (row, token) in enumerate(zip(live, tokens_B.tolist(), strict=True)):
            ended = token in stop_ids
            if not ended:
                row.ids.append(token)
            if ended or len(row.ids) == row.order.most or stopped(row.ids):
                gone.append(at)
        for at in gone:
            yield live[at].order.request, live[at].ids
        if gone:
            order = decoder.drop(gone)
            live = [live[at] for at in order]
            tokens_B = tokens_B[torch.tensor(order, dtype=torch.long, device=tokens_B.device)]
        logits_BV = decoder.push(tokens_B) if live else logits_BV[:0]
