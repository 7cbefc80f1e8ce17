"""Batched generation, in which a finished row makes room for the next prompt.

Shapes: `N` tokens, `V` vocabulary.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from brulee.errors import BruleeError, NotNumbersError
from brulee.inference.biases import Biases
from brulee.inference.guesses import Guesses, shared_out
from brulee.inference.json_form import FormError, Walk
from brulee.inference.on_device import on_device
from brulee.inference.penalties import penalise
from brulee.inference.sampling import NO_TOKEN, Sampling, generators, next_tokens
from brulee.inference.scored import Scored, scored

TOGETHER = 64  # tokens that one pass reads at little more cost than a single one


class Continued(Protocol):
    """Rows that are continued token by token."""

    @property
    def several(self) -> bool:
        """Whether a row can take several tokens in one pass."""

    def push(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Append tokens to every row; returns logits (N, V) after each token, row by row."""

    def cut(self, counts: Sequence[int]) -> None:
        """Remove the last counts[i] tokens of each row i."""

    def drop(self, gone: list[int]) -> list[int]:
        """Remove rows; returns the former index of the row now at each place."""


class Decoder(Continued, Protocol):
    """Prompts, some of which are waiting and some of which are rows being continued."""

    @property
    def waiting(self) -> int:
        """How many prompts have not been read."""

    @property
    def free(self) -> int:
        """How many more rows there is room for."""

    def admit(self, most: int) -> tuple[list[int], torch.Tensor]:
        """Read at most `most` more prompts; returns their indices and logits (N, V) after each."""

    def select(self, parents: list[int]) -> None:
        """Put a copy of row parents[i] at every place i."""


@dataclass(frozen=True)
class Order:
    """A prompt to continue with at most `most` tokens; `request` is its index among the requests.

    `stream` numbers its random stream; a token of `stop_ids` ends the completion and is excluded.
    `before` are the tokens before the completion in the same text: an encoder reads another.
    Tokens of `barred` are never chosen.
    """

    request: int
    most: int
    prompt: Sequence[int]
    stream: int
    stop_ids: Collection[int]
    before: Sequence[int] = ()
    barred: Sequence[int] = ()


@dataclass
class Live:
    """A row that is being generated: how its tokens are chosen, and those it has.

    It ends before a token of its order's `stop_ids`, once `stopped(ids)` is true, or at
    `order.most` tokens; only then `cut` is true. With a `walk` it also ends at the token after
    which nothing may follow. If its logits are NaN, or its walk allows no next token, it ends with
    the error in `broken`. With `likeliest`, every token that it chose is in `scores`, the one that
    ends it too, with so many others.
    """

    order: Order
    sampling: Sampling
    stopped: Callable[[list[int]], bool]
    stream: torch.Generator
    guesses: Guesses
    walk: Walk | None = None
    biases: Biases | None = None
    ids: list[int] = field(default_factory=list)
    ended: bool = False
    cut: bool = False
    broken: BruleeError | None = None
    likeliest: int | None = None
    scores: list[Scored] = field(default_factory=list)

    @classmethod
    def begun(
        cls,
        order: Order,
        sampling: Sampling,
        stopped: Callable[[list[int]], bool],
        several: bool,
        likeliest: int | None = None,
    ) -> Live:
        """A row without tokens; it guesses from its prompt only if rows can take `several`."""
        stream = generators(sampling, [order.stream])[0]
        walk = None if sampling.form is None else sampling.form.begin()
        guesses = Guesses(order.prompt if several else ())
        biases = Biases.of(sampling.biases)
        return cls(order, sampling, stopped, stream, guesses, walk, biases, likeliest=likeliest)

    def next(self, most: int) -> list[int]:
        """At most `most` guessed next tokens, with room left for the token after them."""
        room = min(most, self.order.most - len(self.ids) - 1)
        forced = [] if self.walk is None else self.walk.forced()[: max(room, 0)]
        return forced or self.guesses.next(room)

    def take(self, token: int) -> None:
        """Append a token, or end the row."""
        if self.walk is not None and self.walk.problem:
            self.broken = FormError(
                f"an answer cannot go on as its schema has it: {self.walk.problem}."
            )
        elif token == NO_TOKEN:
            self.broken = NotNumbersError()
        self.ended = self.broken is not None or token in self.order.stop_ids
        if self.ended:
            return
        self.ids.append(token)
        self.guesses.add([token])
        stopped = self.stopped(self.ids) or self._walked(token)
        self.cut = not stopped and len(self.ids) == self.order.most
        self.ended = stopped or self.cut

    def _walked(self, token: int) -> bool:
        """Take the token on the walk, if there is one; returns whether the walk ends there."""
        if self.walk is None:
            return False
        self.walk.take(token)
        return self.walk.ended


def write(
    decoder: Decoder,
    orders: Sequence[Order],
    sampling: Sampling,
    stopped: Callable[[list[int]], bool],
) -> Iterator[tuple[int, list[int]]]:
    """Each request's index and ids, as soon as it is finished; orders[i] is the decoder's prompt i.

    A completion ends as a `Live` does. Raises the error of a broken one.
    """
    live: list[Live] = []

    def finished() -> list[tuple[int, list[int]]]:
        nonlocal live
        live, gone = without_ended(decoder, live)
        for row in gone:
            if row.broken is not None:
                raise row.broken
        return [(row.order.request, row.ids) for row in gone]

    while live or decoder.waiting:
        # Several at once: a pass over several prompts costs little more than one over the first.
        if decoder.waiting and (not live or decoder.free >= max(1, len(live) // 4)):
            chosen, logits = decoder.admit(decoder.free)
            new = [Live.begun(orders[i], sampling, stopped, decoder.several) for i in chosen]
            follow(new, [[]] * len(new), logits)
            live += new
            yield from finished()
        if live:
            advance(decoder, live)
            yield from finished()


def advance(decoder: Continued, live: Sequence[Live]) -> None:
    """Generate one more token of every row, or several where guesses are right."""
    guessing = decoder.several and len(live) < TOGETHER
    ahead = _guessed(live) if guessing else [[]] * len(live)
    tokens = [[row.ids[-1], *guess] for row, guess in zip(live, ahead, strict=True)]
    decoder.cut(follow(live, ahead, decoder.push(tokens)))


def without_ended(decoder: Continued, live: list[Live]) -> tuple[list[Live], list[Live]]:
    """The rows that continue, in their new order, and those that have ended."""
    gone = [at for at, row in enumerate(live) if row.ended]
    if not gone:
        return live, []
    return [live[at] for at in decoder.drop(gone)], [live[at] for at in gone]


def follow(
    live: Sequence[Live], ahead: Sequence[Sequence[int]], logits_NV: torch.Tensor
) -> list[int]:
    """Choose each row's next tokens, along its guesses for as long as they are right.

    Returns how many of each row's guesses were wrong.
    """
    firsts = list(itertools.accumulate([1 + len(guess) for guess in ahead], initial=0))
    right, going = [0] * len(live), list(range(len(live)))
    while going:
        at = [firsts[i] + right[i] for i in going]
        tokens = _chosen([live[i] for i in going], logits_NV, at)
        _score([live[i] for i in going], tokens, logits_NV, at)
        still = []
        for i, token in zip(going, tokens, strict=True):
            live[i].take(token)
            if not live[i].ended and ahead[i][right[i] :][:1] == [token]:
                right[i] += 1
                still.append(i)
        going = still
    for row, guess, count in zip(live, ahead, right, strict=True):
        row.guesses.heard(len(guess), count)
    return [len(guess) - count for guess, count in zip(ahead, right, strict=True)]


def _chosen(live: Sequence[Live], logits_NV: torch.Tensor, at: Sequence[int]) -> list[int]:
    """The next token of each row from the logits at its place; equal settings are batched."""
    tokens = [0] * len(live)
    alike: dict[tuple[float, ...], list[int]] = {}
    for i, row in enumerate(live):
        alike.setdefault(row.sampling.cuts, []).append(i)
    for own in alike.values():
        places = on_device([at[i] for i in own], logits_NV.device)
        streams = [live[i].stream for i in own]
        # A copy, which is changed below: in bfloat16 a small change of a large logit would be lost.
        logits_BV = logits_NV[places].float()
        for place, i in enumerate(own):
            if (biases := live[i].biases) is not None:
                biases.add_to(logits_BV[place])
            if live[i].sampling.penalises:
                penalise(logits_BV[place], live[i].sampling, live[i].order.before, live[i].ids)
            if (walk := live[i].walk) is not None:
                walk.hide(logits_BV[place], live[i].order.stop_ids, live[i].order.barred)
            elif barred := list(live[i].order.barred):
                logits_BV[place, barred] = -math.inf
        found = next_tokens(logits_BV, live[own[0]].sampling, streams).tolist()
        for i, token in zip(own, found, strict=True):
            tokens[i] = token
    return tokens


def _score(
    live: Sequence[Live], tokens: Sequence[int], logits_NV: torch.Tensor, at: Sequence[int]
) -> None:
    """Score the chosen tokens of the rows that ask for it."""
    for row, token, place in zip(live, tokens, at, strict=True):
        if row.likeliest is not None and token != NO_TOKEN:
            row.scores += scored(logits_NV[place : place + 1], [token], row.likeliest)
            if not row.scores[-1].known:
                row.broken = NotNumbersError()


def _guessed(live: Sequence[Live]) -> list[list[int]]:
    """Each row's guesses, cut so that one pass reads at most TOGETHER tokens."""
    wanted = [row.next(TOGETHER) for row in live]
    given = shared_out([len(guess) for guess in wanted], TOGETHER - len(live))
    return [guess[:count] for guess, count in zip(wanted, given, strict=True)]
