"""Rows that prompts join at any token: what a wave is to requests that are all known before.

    token      1    2    3    4    5
    row a    | prompt | a  a  a  a  a
    row b         | prompt | b  b  b      joins after its prompt is read, a pass at a time

Shapes: `N` tokens, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch

from brulee.inference.branches import lay_out
from brulee.inference.kept import Kept
from brulee.inference.path_reader import Ending, PathReader
from brulee.inference.pushing import push
from brulee.inference.reading import Pair
from brulee.inference.routing import Router
from brulee.inference.row import Row, Shared, Voice
from brulee.inference.rows import Rows, kind_of

_LAID: Final = 1024  # positions laid aside beside a pass


class Arriving:
    """A prompt that is read a pass at a time, and is a row after the last.

    Its first `spared` tokens are in `kept`, where what is read of it is put; nothing else may be
    put there before its first pass. `aside`: its keys and values are laid by themselves as they
    are read, for a row that holds none of them as its own.
    """

    def __init__(
        self, voice: Voice, prompt: Sequence[int], kept: Kept | None = None, aside: bool = False
    ) -> None:
        self.voice, self.tokens = voice, len(prompt)
        self._prompt, self._kept, self._aside = prompt, kept or Kept(0), aside
        known = self._kept.find(voice, prompt[:-1])  # what follows the last token has to be known
        self.spared = self.read = known.tokens
        self._stream = lay_out([prompt], [len(prompt) - 1])
        self._reader = PathReader(voice.model, self._stream, known)
        self._group, self._laid = Shared(), 0

    @property
    def left(self) -> int:
        """Tokens that are not read yet."""
        return self.tokens - self.read

    def ready(self, most: int) -> bool:
        """Whether it can become a row with a pass of at most so many tokens."""
        if self.left > most:
            return False
        unlaid = self.read - self._laid if self._aside else 0
        # The last token has to be read for what is kept to be there at all.
        return unlaid <= _LAID or (self.left == 1 and not self._reader.stacks)

    def read_on(self, most: int) -> int:
        """Read a pass of at most so many tokens, but not the last; how many it had."""
        tokens = min(most, self.left - 1)
        if tokens:
            self._read(tokens)
        self._lay(tokens + _LAID)
        return tokens

    def read_out(self) -> None:
        """Read all that is left, without a row."""
        self._read(self.left)

    def become_row(self, rows: Rows, own: int) -> torch.Tensor:
        """Read what is left into a new row, which holds the last `own` tokens as its own.

        Returns logits (1, V) after it.
        """
        at, end = len(rows.rows), self.left - 1
        rows.rows.append(Row(self._group, self.tokens - own, own, self.tokens, self.voice))

        def keep(layer: int, stack: Pair, top: int) -> None:
            rows.keep(layer, at, stack, top)

        return self._read(self.left, [end], [Ending(end, keep)])

    def _read(
        self, tokens: int, asked: Sequence[int] = (), endings: Sequence[Ending] = ()
    ) -> torch.Tensor:
        """Logits (N, V) after those of the next so many tokens that are asked for."""
        part = next(self._stream.passes(self.read, self.read + tokens, tokens))
        rows = torch.tensor(asked, dtype=torch.long, device=self._reader.device)
        logits = self._reader.read(part, rows, endings)
        self.read += tokens
        stacks, trained = self._reader.stacks, self._reader.trained
        self._kept.keep(self.voice, self._prompt[: self.read], stacks, trained)
        return logits

    def _lay(self, tokens: int) -> None:
        """Lay so many more positions aside; all at once they would take longer than a pass."""
        stacks, trained = self._reader.stacks, self._reader.trained
        if not self._aside or not stacks:
            return
        self._laid = min(self._laid + tokens, self.read)
        for layer, stack in stacks.items():
            kind = kind_of(stack)
            self._group.lay(kind, layer, stack, trained + self.tokens, trained + self._laid)


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

    def needed(self, joining: Sequence[tuple[int, int]]) -> int:
        """Tokens there has to be room for with more rows, each so long a prompt and what follows.

        Room that is held for rows to come is given up for them.
        """
        if not joining:
            return self.tokens
        aside = sum(self._aside_with(prompt) - self._aside_with(0) for prompt, _ in joining)
        room = max(self.rows.room, *(self._own(*each) for each in joining))
        return self._aside_with(0) + aside + (len(self.rows.rows) + len(joining)) * room

    def join(self, arriving: Arriving, most: int, tokens: int) -> torch.Tensor:
        """A prompt of which one pass is unread becomes the last row: logits (1, V) after it.

        There is room for more rows then, if it can be had within `tokens`.
        """
        self.rows.reserve(*self._sizes(arriving.tokens, most, tokens))
        return arriving.become_row(self.rows, 0 if self._aside else arriving.tokens)

    def _sizes(self, prompt: int, most: int, tokens: int) -> tuple[int, int]:
        """How many rows of how many own tokens there is to be room for, with one more."""
        rows, count = self.rows, len(self.rows.rows) + 1
        room = max(rows.room, self._own(prompt, most))
        # Twice as many, or each row that joins would have all others copied.
        wanted = rows.most if count <= rows.most else min(2 * len(rows.rows), self._most)
        return max(count, min(wanted, (tokens - self._aside_with(prompt)) // room)), room

    def _own(self, prompt: int, most: int) -> int:
        return most if self._aside else prompt + most

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
        Arriving(voice, [0]).become_row(rows, 1)
    return rows.several
