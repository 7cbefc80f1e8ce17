"""The rows that are being generated: what each holds, and attention of its new tokens to that.

    row 0    |---- shared by its group ----|-- own prompt --|- written -|
    row 1    |             "               |- own -|-- written --|
    row 2    |-- another group's --|------- own -------|- written -|

What a group shares is held once; rows' own keys and values lie side by side in buffers of one
length. How they lie, and how attention is computed, is up to the kind of `Held`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from brulee.inference.reading import Pair


@dataclass(eq=False)
class Shared:
    """What the rows of a group have in common: L tokens' keys and values by layer."""

    layers: dict[int, Pair] = field(default_factory=dict)


@dataclass
class Row:
    """How many positions a row has of its own, what stands before them, and its next position.

    `shared` counts a trained prefix, `position` does not.
    """

    group: Shared
    shared: int
    own: int
    position: int


class Held(Protocol):
    """Keys and values of rows. Shapes: stacks (1, K, S, D); the rest is for each kind to say."""

    several: bool  # whether a row may be given several tokens at once

    def common(self, stack: Pair, length: int) -> Pair:
        """The first `length` positions of a stack, to be shared by a group."""

    def fill(self, layer: int, at: int, stack: Pair, bottom: int, top: int) -> None:
        """Keep positions from bottom to top of a stack as row `at`'s own."""

    def copy(self, moves: Sequence[tuple[int, int]], own: int) -> None:
        """For each (place, row): put the first `own` positions of that row, as it was, there."""

    def begin(self, rows: Sequence[Row], counts: Sequence[int], device: torch.device) -> None:
        """Before so many tokens of each row are read, which stand in the pass in this order."""

    def attend(
        self, layer: int, query: torch.Tensor, new: Pair, scaling: float | None, window: int | None
    ) -> torch.Tensor:
        """Attention of one layer: query (1, H, T, D), new keys (1, K, P + T, D); (1, T, H, D)."""


class Rows:
    """At most `most` rows with `room` own tokens each. They are numbered from 0, without gaps."""

    def __init__(self, most: int, room: int) -> None:
        self.most, self.room = most, room
        self.rows: list[Row] = []
        self._held: Held | None = None

    @property
    def several(self) -> bool:
        """Whether a row may be given several tokens at once."""
        return self._held is not None and self._held.several

    def keep(self, layer: int, at: int, stack: Pair, top: int) -> None:
        """Keep what a stack holds up to `top` for row `at`, as it is read."""
        row = self.rows[at]
        row.shared = top - row.own
        if self._held is None:
            self._held = _kind(stack)(self.most, self.room)
        if layer not in row.group.layers:
            row.group.layers[layer] = self._held.common(stack, row.shared)
        self._held.fill(layer, at, stack, row.shared, top)

    def drop(self, gone: Sequence[int]) -> list[int]:
        """Forget rows; returns which of the rows before is now at each place."""
        order = list(range(len(self.rows)))
        for at in sorted(gone, reverse=True):
            last = order.pop()
            if at < len(order):
                order[at] = last
        for at, old in enumerate(order):
            if at != old and self._held is not None:
                self._held.copy([(at, old)], self.rows[old].own)
        self.rows = [self.rows[old] for old in order]
        return order

    def select(self, parents: Sequence[int]) -> None:
        """Put a copy of row parents[i] at every place i."""
        if list(parents) == list(range(len(self.rows))):
            return
        own = max((self.rows[p].own for p in parents), default=0)
        if self._held is not None:
            self._held.copy(list(enumerate(parents)), own)
        self.rows = [Row(**vars(self.rows[p])) for p in parents]

    def begin(self, counts: Sequence[int], device: torch.device) -> None:
        """Before so many tokens of each row are read."""
        assert self._held is not None, "rows are filled before they are continued"
        self._held.begin(self.rows, counts, device)

    def attend(
        self, layer: int, query: torch.Tensor, new: Pair, scaling: float | None, window: int | None
    ) -> torch.Tensor:
        """Attention of one layer: query (1, H, T, D), new keys (1, K, P + T, D); (1, T, H, D)."""
        assert self._held is not None, "rows are filled before they are continued"
        return self._held.attend(layer, query, new, scaling, window)

    def end(self, counts: Sequence[int]) -> None:
        """After so many more tokens of each row are held."""
        for row, count in zip(self.rows, counts, strict=True):
            row.own += count
            row.position += count


def _kind(stack: Pair) -> Callable[[int, int], Held]:
    # Here, as both of them build on Row.
    from brulee.inference.held import HeldTensors
    from brulee.inference.held_in_c import HeldInC

    return HeldInC if HeldInC.fits(stack) else HeldTensors
