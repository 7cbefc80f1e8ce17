"""The rows that are being generated: their keys and values, and attention of new tokens to them.

    row 0    |---- shared by its group ----|-- own prompt --|- generated -|
    row 1    |             "               |- own -|-- generated --|
    row 2    |-- another group's --|------- own -------|- generated -|

A group's shared prefix is held once; rows' own keys and values lie side by side in buffers of one
length. Their layout, and how attention is computed, depends on the kind of `Held`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from brulee.inference.held import HeldTensors
from brulee.inference.held_in_c import HeldInC
from brulee.inference.reading import Pair, Reader
from brulee.inference.row import Held, Row, closed_up


class Rows:
    """At most `most` rows with `room` own tokens each. They are numbered from 0, without gaps."""

    def __init__(self, most: int, room: int) -> None:
        self.most, self.room = most, room
        self.rows: list[Row] = []
        self._held: dict[type[Held], Held] = {}
        self._of_layer: dict[int, Held] = {}

    @property
    def several(self) -> bool:
        """Whether a row can take several tokens in one pass."""
        return bool(self._held) and all(held.several for held in self._held.values())

    def reserve(self, most: int, room: int) -> None:
        """Resize to `most` rows, no fewer than there are, of `room` own tokens."""
        if (most, room) != (self.most, self.room):
            own = max((row.own for row in self.rows), default=0)
            for held in self._held.values():
                held.reserve(most, room, len(self.rows), own)
        self.most, self.room = most, room

    def keep(self, layer: int, at: int, stack: Pair, top: int) -> None:
        """Store a stack's positions up to `top` for row `at` as they are computed."""
        row = self.rows[at]
        row.shared = top - row.own
        kind = kind_of(stack)
        if kind not in self._held:
            self._held[kind] = kind(self.most, self.room)
        self._of_layer[layer] = self._held[kind]
        row.group.lay(kind, layer, stack, row.shared, row.shared)
        self._held[kind].fill(layer, at, stack, row.shared, top)

    def drop(self, gone: Sequence[int]) -> list[int]:
        """Remove rows; returns the former index of the row now at each place."""
        order = closed_up(len(self.rows), gone)
        for at, old in enumerate(order):
            for held in self._held.values() if at != old else ():
                held.copy([(at, old)], self.rows[old].own)
        self.rows = [self.rows[old] for old in order]
        return order

    def select(self, parents: Sequence[int]) -> None:
        """Put a copy of row parents[i] at every place i."""
        if list(parents) == list(range(len(self.rows))):
            return
        own = max((self.rows[p].own for p in parents), default=0)
        for held in self._held.values():
            held.copy(list(enumerate(parents)), own)
        self.rows = [Row(**vars(self.rows[p])) for p in parents]

    def begin(self, counts: Sequence[int], device: torch.device) -> Reader:
        """Prepare a pass over counts[i] tokens of each row i; returns its reader."""
        assert self._held, "rows are filled before they are continued"
        for held in self._held.values():
            held.begin(self.rows, counts, device)
        return _ByLayer(self._of_layer) if len(self._held) > 1 else next(iter(self._held.values()))

    def end(self, counts: Sequence[int]) -> None:
        """Record that the pass added counts[i] tokens to each row i."""
        for row, count in zip(self.rows, counts, strict=True):
            row.own += count
            row.position += count


class _ByLayer:
    """Attention of layers that are held in different ways, since their head widths differ."""

    def __init__(self, held: Mapping[int, Held]) -> None:
        self._held = held

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        new: Pair,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        """Attention of one layer, computed by what holds it."""
        return self._held[layer].attend(layer, query, new, scaling, window)


def kind_of(stack: Pair) -> type[Held]:
    """The class that holds keys and values such as these."""
    return HeldInC if HeldInC.fits(stack) else HeldTensors
