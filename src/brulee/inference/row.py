"""A row that is being generated, and what has to be known of how rows' keys and values are held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from transformers import PreTrainedModel

from brulee.inference.reading import Pair, Reader


@dataclass(frozen=True, eq=False)
class Voice:
    """Who answers: the base as the adapter of that name makes it compute; None: as it is."""

    name: str | None
    model: PreTrainedModel


@dataclass(eq=False)
class Shared:
    """What the rows of a group have in common: L tokens' keys and values by layer.

    Of each layer's so many are `laid` there yet.
    """

    layers: dict[int, Pair] = field(default_factory=dict)
    laid: dict[int, int] = field(default_factory=dict)

    def lay(self, kind: type[Held], layer: int, stack: Pair, length: int, stop: int) -> None:
        """Lay aside what a stack holds up to `stop`, of `length` positions, if it is not yet."""
        if layer not in self.layers:
            self.layers[layer] = kind.common(stack, length)
        start = self.laid.get(layer, 0)
        if start < stop:
            kind.lay(self.layers[layer], stack, start, stop)
            self.laid[layer] = stop


@dataclass
class Row:
    """How many positions a row has of its own, what stands before, its next one, and who answers.

    `shared` counts a trained prefix, `position` does not.
    """

    group: Shared
    shared: int
    own: int
    position: int
    voice: Voice


def closed_up(count: int, gone: Sequence[int]) -> list[int]:
    """Which of so many rows are where, once the last ones have taken the places of those gone."""
    order = list(range(count))
    for at in sorted(gone, reverse=True):
        last = order.pop()
        if at < len(order):
            order[at] = last
    return order


class Held(Reader, Protocol):
    """Keys and values of rows. Shapes: stacks (1, K, S, D); the rest is for each kind to say."""

    several: bool  # whether a row may be given several tokens at once

    def __init__(self, most: int, room: int) -> None:
        """Room for `most` rows of `room` tokens."""

    @staticmethod
    def common(stack: Pair, length: int) -> Pair:
        """Room for the first `length` positions of a stack, to be shared by a group."""

    @staticmethod
    def lay(common: Pair, stack: Pair, start: int, stop: int) -> None:
        """Put positions from start to stop of a stack there."""

    def fill(self, layer: int, at: int, stack: Pair, bottom: int, top: int) -> None:
        """Keep positions from bottom to top of a stack as row `at`'s own."""

    def copy(self, moves: Sequence[tuple[int, int]], own: int) -> None:
        """For each (place, row): put the first `own` positions of that row, as it was, there."""

    def reserve(self, most: int, room: int, rows: int, own: int) -> None:
        """Have room for `most` rows of `room` tokens, not fewer; keep `own` of so many rows."""

    def begin(self, rows: Sequence[Row], counts: Sequence[int], device: torch.device) -> None:
        """Before so many tokens of each row are read, which stand in the pass in this order."""
