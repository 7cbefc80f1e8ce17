"""Rows that prompts join at any token: what a wave is to requests that are all known before.

    token      1    2    3    4    5
    row a    | prompt | a  a  a  a  a
    row b         | prompt | b  b  b      joins after its prompt is read, a pass at a time

Shapes: `N` tokens, `V` vocabulary.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import torch

from brulee.inference.branches import lay_out
from brulee.inference.kept import Kept
from brulee.inference.path_reader import Ending, PathReader
from brulee.inference.pushing import push
from brulee.inference.reading import Pair
from brulee.inference.routing import Router
from brulee.inference.row import Row, Shared, Voice
from brulee.inference.rows import Rows


class Arriving:
    """A prompt that is read in passes of so many tokens, and is a row after the last of them.

    Its first `spared` tokens are in `kept`, where what is read of it is put. It is read on before
    another is begun.
    """

    def __init__(
        self, voice: Voice, prompt: Sequence[int], pass_tokens: int, kept: Kept | None = None
    ) -> None:
        self.voice, self.tokens = voice, len(prompt)
        self._prompt, self._kept = prompt, kept or Kept(0)
        known = self._kept.find(voice, prompt[:-1])  # what follows the last token has to be known
        self.spared = known.tokens
        stream = lay_out([prompt], [len(prompt) - 1])
        self._reader = PathReader(voice.model, stream, known)
        self._passes = deque(stream.passes(known.tokens, len(stream.ids), pass_tokens))

    @property
    def last(self) -> bool:
        """Whether the next pass is the last."""
        return len(self._passes) == 1

    @property
    def left(self) -> int:
        """Tokens that are not read yet."""
        return sum(part.stop - part.start for part in self._passes)

    def read(self) -> int:
        """Read a pass after which more is to be read, or nothing; how many tokens it had."""
        part = self._passes.popleft()
        nowhere = torch.empty(0, dtype=torch.long, device=self._reader.device)
        self._reader.read(part, nowhere)
        self._keep(part.stop)
        return part.stop - part.start

    def become_row(self, rows: Rows, own: int) -> torch.Tensor:
        """Read the last pass into a new row, which holds the last `own` tokens as its own.

        Returns logits (1, V) after it.
        """
        part, at = self._passes.popleft(), len(rows.rows)
        rows.rows.append(Row(Shared(), self.tokens - own, own, self.tokens, self.voice))

        def keep(layer: int, stack: Pair, top: int) -> None:
            rows.keep(layer, at, stack, top)

        end = part.stop - part.start - 1
        asked = torch.tensor([end], device=self._reader.device)
        logits = self._reader.read(part, asked, [Ending(end, keep)])
        self._keep(part.stop)
        return logits

    def _keep(self, read: int) -> None:
        stacks, trained = self._reader.stacks, self._reader.trained
        self._kept.keep(self.voice, self._prompt[:read], stacks, trained)


class JoinedRows:
    """At most `most` rows that go on together; `router` is needed for several voices.

    `aside`: whether a prompt's keys and values lie by themselves, so that a row takes no more room
    than what is written; else they lie in the row.
    """

    def __init__(
        self, most: int, device: torch.device, aside: bool, router: Router | None = None
    ) -> None:
        self._most, self._device, self._aside, self._router = most, device, aside, router
        self.rows = Rows(0, 0)

    @property
    def tokens(self) -> int:
        """Tokens that there is room for."""
        return sum(row.shared for row in self.rows.rows) + self.rows.most * self.rows.room

    def fits(self, prompt: int, most: int, tokens: int) -> bool:
        """Whether a prompt of so many tokens, that `most` follow, can join within `tokens`."""
        return self._aside_with(prompt) + math.prod(self._sizes(prompt, most, tokens)) <= tokens

    def join(self, arriving: Arriving, most: int, tokens: int) -> torch.Tensor:
        """A prompt of which one pass is unread becomes the last row: logits (1, V) after it.

        There is room for more rows then, if it can be had within `tokens`.
        """
        self.rows.reserve(*self._sizes(arriving.tokens, most, tokens))
        return arriving.become_row(self.rows, 0 if self._aside else arriving.tokens)

    def _sizes(self, prompt: int, most: int, tokens: int) -> tuple[int, int]:
        """How many rows of how many own tokens there is to be room for, with one more."""
        rows, count = self.rows, len(self.rows.rows) + 1
        room = max(rows.room, most if self._aside else prompt + most)
        if room == rows.room and count <= rows.most:
            return rows.most, room
        # Twice as many, or each row that joins would have all others copied.
        wanted = min(2 * len(rows.rows), self._most)
        return max(count, min(wanted, (tokens - self._aside_with(prompt)) // room)), room

    def _aside_with(self, prompt: int) -> int:
        held = sum(row.shared for row in self.rows.rows)
        return held + (prompt if self._aside else 0)

    @property
    def several(self) -> bool:
        """Whether a row may be given several tokens at once."""
        return self.rows.several

    def push(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Append tokens to every row; logits (N, V) after each of them, row by row."""
        return push(self.rows, tokens, self._device, self._router)

    def cut(self, counts: Sequence[int]) -> None:
        """Forget the last so many tokens of each row."""
        self.rows.end([-count for count in counts])

    def drop(self, gone: list[int]) -> list[int]:
        """Forget rows; returns which of the rows before is now at each place.

        Without rows there is no room held either.
        """
        order = self.rows.drop(gone)
        if not order:
            self.rows = Rows(0, 0)
        return order


def lies_aside(voice: Voice) -> bool:
    """Whether a prompt's keys and values cost nothing more where they lie by themselves.

    They do not where attention is the loop in C; it is made for this model here, if it is not yet.
    """
    rows = Rows(1, 1)
    with torch.no_grad():
        Arriving(voice, [0], 1).become_row(rows, 1)
    return rows.several
