"""Prompts read as a stream and continued in rows; a finished row makes room for the next prompt.

Each adapter's prompts are read as one stream, by its own view of the base; rows of all adapters
share passes, each computed with its adapter (routing.py).

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

    A row's own tokens are those of its prompt that its group does not share, and generated ones.
    `router` is needed if there is more than one voice, and must have them all.
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
        """How many prompts have not been read."""
        return self._count - self._admitted

    @property
    def free(self) -> int:
        """How many more rows there is room for."""
        return self.rows.most - len(self.rows.rows)

    def admit(self, most: int) -> tuple[list[int], torch.Tensor]:
        """Read at most `most` more prompts; returns their indices and logits (N, V) after each."""
        first, logits = self._admitted, []
        for part in self._parts:
            room = min(part.waiting, first + most - self._admitted)
            if room:
                logits.append(part.admit(room, self.rows))
                self._admitted += room
        return list(range(first, self._admitted)), torch.cat(logits)

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
        """Remove rows; returns the former index of the row now at each place."""
        order = self.rows.drop(gone)
        held = {id(row.group) for row in self.rows.rows}
        for part in self._parts:
            part.let_go(held)
        return order

    def select(self, parents: list[int]) -> None:
        """Put a copy of row parents[i] at every place i."""
        self.rows.select(parents)
