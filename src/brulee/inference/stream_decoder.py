"""Prompts read as a stream and continued in rows: a finished row's place goes to the next prompt.

Prompts of several adapters are read as a stream each, by the adapter's own view of the base; their
rows go on together, every row as its adapter has it (routing.py).

Shapes: `N` prompts or tokens, `V` vocabulary.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from brulee.inference.prompts import Prompts
from brulee.inference.pushing import push
from brulee.inference.routing import Router
from brulee.inference.row import Voice
from brulee.inference.rows import Rows
from brulee.inference.sharing import Group
from brulee.inference.waves import Wave


class StreamDecoder:
    """Continues the prompts of a wave, in its order; voices[i] answers prompts[i].

    A row's own tokens are those of its prompt that its group does not share, and those written.
    `router` is needed where there is more than one voice, and knows them all.
    """

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        voices: Sequence[Voice],
        wave: Wave,
        pass_tokens: int,
        router: Router | None = None,
    ) -> None:
        self.rows = Rows(wave.rows, wave.room)
        self._router = router
        self._device = next(voices[0].model.parameters()).device
        self._parts: list[Prompts] = []
        self._count, self._admitted, start = len(prompts), 0, 0
        for voice, own in itertools.groupby(voices):
            stop = start + len(list(own))
            groups = [
                Group(g.start - start, g.stop - start, g.tokens)
                for g in wave.groups
                if start <= g.start < stop
            ]
            self._parts.append(Prompts(voice, prompts[start:stop], groups, pass_tokens))
            start = stop

    @property
    def waiting(self) -> int:
        """Prompts that have not been read."""
        return self._count - self._admitted

    @property
    def free(self) -> int:
        """Rows that there is room for."""
        return self.rows.most - len(self.rows.rows)

    def admit(self, most: int) -> tuple[list[int], torch.Tensor]:
        """Read the next prompts, at most so many: which they are, and logits (N, V) after each."""
        first, logits = self._admitted, []
        for part in self._parts:
            room = min(part.waiting, first + most - self._admitted)
            if room:
                logits.append(part.admit(room, self.rows))
                self._admitted += room
        return list(range(first, self._admitted)), torch.cat(logits)

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
        """Forget rows; returns which of the rows before is now at each place."""
        order = self.rows.drop(gone)
        held = {id(row.group) for row in self.rows.rows}
        for part in self._parts:
            part.let_go(held)
        return order

    def select(self, parents: list[int]) -> None:
        """Put a copy of row parents[i] at every place i."""
        self.rows.select(parents)
