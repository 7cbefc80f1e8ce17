"""A batch of rows that prompts can join at any token; for requests known in advance, see waves.py.

    token      1    2    3    4    5
    row a    | prompt | a  a  a  a  a
    row b         | prompt | b  b  b      joins after its prompt is read, a pass at a time

Shapes: `N` tokens, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch

from brulee.inference.branches import lay_out
from brulee.inference.kept import Kept
from brulee.inference.on_device import on_device
from brulee.inference.path_reader import Ending, PathReader
from brulee.inference.pushing import push
from brulee.inference.reading import Pair
from brulee.inference.routing import Router
from brulee.inference.row import Row, Shared, Voice
from brulee.inference.rows import Rows, kind_of

_LAID: Final = 1024  # positions laid aside along with a pass


class Arriving:
    """A prompt that is read a pass at a time and becomes a row with the last pass.

    Its first `spared` tokens come from the cache `kept`, where what is read is stored; nothing else
    may be stored there before its first pass. With `aside`, its keys and values are stored as a
    group's shared prefix as they are read, for a row with none of them as its own. `score` gets the
    logits (N, V) after every token, pass by pass; the prompt is then read from its first token on.
    """

    def __init__(
        self,
        voice: Voice,
        prompt: Sequence[int],
        kept: Kept | None = None,
        aside: bool = False,
        score: Callable[[torch.Tensor], None] | None = None,
    ) -> None:
        self.voice, self.tokens = voice, len(prompt)
        self._prompt, self._kept, self._aside = prompt, kept or Kept(0), aside
        # The last token's logits are needed.
        known = self._kept.find(voice, () if score is not None else prompt[:-1])
        self.spared = self.read = known.tokens
        self._stream = lay_out([prompt], [len(prompt) - 1])
        self._reader = PathReader(voice.model, self._stream, known)
        self._group, self._laid, self._score = Shared(), 0, score

    @property
    def left(self) -> int:
        """Number of tokens not read yet."""
        return self.tokens - self.read

    def ready(self, most: int) -> bool:
        """Whether it can become a row with a pass of at most `most` tokens."""
        if self.left > most:
            return False
        unlaid = self.read - self._laid if self._aside else 0
        # Before the first pass there are no stacks yet, even of cached tokens.
        return unlaid <= _LAID or (self.left == 1 and not self._reader.stacks)

    def read_on(self, most: int) -> int:
        """Read a pass of at most `most` tokens, not the prompt's last; returns their number."""
        tokens = min(most, self.left - 1)
        if tokens:
            self._read(tokens)
        self._lay(tokens + _LAID)
        return tokens

    def read_out(self) -> None:
        """Read all remaining tokens without making a row."""
        self._read(self.left)

    def become_row(self, rows: Rows, own: int) -> torch.Tensor:
        """Read the remaining tokens into a new row, which holds the last `own` tokens as its own.

        Returns logits (1, V) after the prompt.
        """
        at, end = len(rows.rows), self.left - 1
        rows.rows.append(Row(self._group, self.tokens - own, own, self.tokens, self.voice))

        def keep(layer: int, stack: Pair, top: int) -> None:
            rows.keep(layer, at, stack, top)

        return self._read(self.left, [end], [Ending(end, keep)])

    def _read(
        self, tokens: int, asked: Sequence[int] = (), endings: Sequence[Ending] = ()
    ) -> torch.Tensor:
        """Read the next `tokens` tokens; returns logits (N, V) after those at `asked`."""
        part = next(self._stream.passes(self.read, self.read + tokens, tokens))
        wanted = list(range(tokens)) if self._score is not None else asked
        rows = on_device(wanted, self._reader.device, torch.long)
        logits = self._reader.read(part, rows, endings)
        if self._score is not None:
            self._score(logits)
            logits = logits[list(asked)]
        self.read += tokens
        stacks, trained = self._reader.stacks, self._reader.trained
        self._kept.keep(self.voice, self._prompt[: self.read], stacks, trained)
        return logits

    def _lay(self, tokens: int) -> None:
        """Lay `tokens` more positions aside; all at once would take longer than a pass."""
        stacks, trained = self._reader.stacks, self._reader.trained
        if not self._aside or not stacks:
            return
        self._laid = min(self._laid + tokens, self.read)
        for layer, stack in stacks.items():
            kind = kind_of(stack)
            self._group.lay(kind, layer, stack, trained + self.tokens, trained + self._laid)


class JoinedRows:
    """At most `most` rows that are generated together; `router` is needed for several voices.

    With `aside`, a prompt's keys and values are stored separately, so that a row has room only for
    its completion; otherwise they are part of the row.
    """

    def __init__(
        self, most: int, device: torch.device, aside: bool, router: Router | None = None
    ) -> None:
        self._most, self._device, self._aside, self._router = most, device, aside, router
        self.rows = Rows(0, 0)

    @property
    def tokens(self) -> int:
        """Number of tokens there is room for."""
        return sum(row.shared for row in self.rows.rows) + self.rows.most * self.rows.room

    def needed(self, joining: Sequence[tuple[int, int]]) -> int:
        """Tokens needed once rows of these (prompt, most new) sizes have joined.

        Room reserved for future rows is used for them.
        """
        if not joining:
            return self.tokens
        aside = sum(self._aside_with(prompt) - self._aside_with(0) for prompt, _ in joining)
        room = max(self.rows.room, *(self._own(*each) for each in joining))
        return self._aside_with(0) + aside + (len(self.rows.rows) + len(joining)) * room

    def join(self, arriving: Arriving, most: int, tokens: int) -> torch.Tensor:
        """Make a prompt with one pass left the last row; returns logits (1, V) after it.

        Room for further rows is reserved, as far as `tokens` allows.
        """
        self.rows.reserve(*self._sizes(arriving.tokens, most, tokens))
        return arriving.become_row(self.rows, 0 if self._aside else arriving.tokens)

    def _sizes(self, prompt: int, most: int, tokens: int) -> tuple[int, int]:
        """The number of rows, and of own tokens per row, to reserve for one more row."""
        rows, count = self.rows, len(self.rows.rows) + 1
        room = max(rows.room, self._own(prompt, most))
        # Doubled, so that not every joining row causes a copy of all others.
        wanted = rows.most if count <= rows.most else min(2 * len(rows.rows), self._most)
        return max(count, min(wanted, (tokens - self._aside_with(prompt)) // room)), room

    def _own(self, prompt: int, most: int) -> int:
        return most if self._aside else prompt + most

    def _aside_with(self, prompt: int) -> int:
        held = sum(row.shared for row in self.rows.rows)
        return held + (prompt if self._aside else 0)

    @property
    def several(self) -> bool:
        """Whether a row can take several tokens in one pass."""
        return self.rows.several

    def push(self, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """Append tokens to every row; returns logits (N, V) after each token, row by row."""
        return push(self.rows, tokens, self._device, self._router)

    def cut(self, counts: Sequence[int]) -> None:
        """Remove the last counts[i] tokens of each row i."""
        self.rows.end([-count for count in counts])

    def drop(self, gone: list[int]) -> list[int]:
        """Remove rows; returns the former index of the row now at each place.

        Without rows, all memory is freed.
        """
        order = self.rows.drop(gone)
        if not order:
            self.rows = Rows(0, 0)
        return order


def lies_aside(voice: Voice) -> bool:
    """Whether storing a prompt's keys and values separately makes attention no slower.

    This is so with the attention loop in C, which is compiled for this model here if necessary.
    """
    rows = Rows(1, 1)
    with torch.no_grad():
        Arriving(voice, [0]).become_row(rows, 1)
    return rows.several
