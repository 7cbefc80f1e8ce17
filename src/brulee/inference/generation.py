"""Writing on after prompts, many at a time: a row that is finished makes room for the next prompt.

Shapes: `N` tokens, `V` vocabulary.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from brulee.inference.guesses import Guesses, shared_out
from brulee.inference.sampling import Sampling, generators, next_tokens

TOGETHER = 64  # tokens that a pass reads at little more cost than one


class Decoder(Protocol):
    """Prompts of which some wait and some are rows that take one token after another."""

    @property
    def waiting(self) -> int:
        """Prompts that have not been read."""

    @property
    def free(self) -> int:
        """Rows that there is room for."""

    def admit(self, most: int) -> tuple[list[int], torch.Tensor]:
        """Read the next prompts, at most so many: which they are, and logits (N, V) after each."""

    @property
    def several(self) -> bool:
        """Whether a row may be given several tokens at once."""

    def push(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Append tokens to every row; logits (N, V) after each of them, row by row."""

    def cut(self, counts: Sequence[int]) -> None:
        """Forget the last so many tokens of each row."""

    def drop(self, gone: list[int]) -> list[int]:
        """Forget rows; returns which of the rows before is now at each place."""

    def select(self, parents: list[int]) -> None:
        """Put a copy of row parents[i] at every place i."""


@dataclass(frozen=True)
class Order:
    """A prompt's number among the requests, how many tokens may follow it, and its own.

    `stream` numbers its random stream; a token of `stop_ids` ends what follows, and is left out.
    """

    request: int
    most: int
    prompt: Sequence[int]
    stream: int
    stop_ids: Collection[int]


@dataclass
class _Live:
    order: Order
    stream: torch.Generator
    guesses: Guesses
    ids: list[int] = field(default_factory=list)
    ended: bool = False

    def next(self, most: int) -> list[int]:
        """At most so many guesses at what follows, if there is room for what follows them."""
        return self.guesses.next(min(most, self.order.most - len(self.ids) - 1))


def write(
    decoder: Decoder,
    orders: Sequence[Order],
    sampling: Sampling,
    stopped: Callable[[list[int]], bool],
) -> Iterator[tuple[int, list[int]]]:
    """Each request and its ids, as soon as it is finished; orders[i] is of the decoder's prompt i.

    A completion ends before a token that ends it, after one with which it is `stopped`, or when it
    has all it may have.
    """
    live: list[_Live] = []

    def ends(row: _Live, token: int) -> bool:
        ended = token in row.order.stop_ids
        if not ended:
            row.ids.append(token)
            row.guesses.add([token])
        return ended or len(row.ids) == row.order.most or stopped(row.ids)

    def finished() -> list[tuple[int, list[int]]]:
        nonlocal live
        gone = [at for at, row in enumerate(live) if row.ended]
        found = [(live[at].order.request, live[at].ids) for at in gone]
        if gone:
            live = [live[at] for at in decoder.drop(gone)]
        return found

    while live or decoder.waiting:
        # Some at a time: a pass over several prompts costs little more than one over the first.
        if decoder.waiting and (not live or decoder.free >= max(1, len(live) // 4)):
            chosen, logits = decoder.admit(decoder.free)
            streams = generators(sampling, [orders[i].stream for i in chosen])
            new = [
                _Live(orders[i], s, Guesses(orders[i].prompt if decoder.several else ()))
                for i, s in zip(chosen, streams, strict=True)
            ]
            _follow(new, [[]] * len(new), logits, sampling, ends)
            live += new
            yield from finished()
        if live:
            guessing = decoder.several and len(live) < TOGETHER
            ahead = _guessed(live) if guessing else [[]] * len(live)
            tokens = [[row.ids[-1], *guess] for row, guess in zip(live, ahead, strict=True)]
            decoder.cut(_follow(live, ahead, decoder.push(tokens), sampling, ends))
            yield from finished()


def _guessed(live: Sequence[_Live]) -> list[list[int]]:
    """What each row may go on with, in all as many tokens as are read at little more cost."""
    wanted = [row.next(TOGETHER) for row in live]
    given = shared_out([len(guess) for guess in wanted], TOGETHER - len(live))
    return [guess[:count] for guess, count in zip(wanted, given, strict=True)]


def _follow(
    live: Sequence[_Live],
    ahead: Sequence[Sequence[int]],
    logits_NV: torch.Tensor,
    sampling: Sampling,
    ends: Callable[[_Live, int], bool],
) -> list[int]:
    """Choose on, from after each row's newest token along its guesses, as long as they are right.

    Returns how many of each row's guesses were wrong.
    """
    firsts = list(itertools.accumulate([1 + len(guess) for guess in ahead], initial=0))
    right, going = [0] * len(live), list(range(len(live)))
    while going:
        at = torch.tensor([firsts[i] + right[i] for i in going], device=logits_NV.device)
        streams = [live[i].stream for i in going]
        tokens = next_tokens(logits_NV[at], sampling, streams).tolist()
        still = []
        for i, token in zip(going, tokens, strict=True):
            live[i].ended = ends(live[i], token)
            if not live[i].ended and ahead[i][right[i] :][:1] == [token]:
                right[i] += 1
                still.append(i)
        going = still
    for row, guess, count in zip(live, ahead, right, strict=True):
        row.guesses.heard(len(guess), count)
    return [len(guess) - count for guess, count in zip(ahead, right, strict=True)]
