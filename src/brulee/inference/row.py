"""A row that is being generated, and the interface of what holds rows' keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from transformers import PreTrainedModel

from brulee.inference.reading import Pair, Reader


@dataclass(frozen=True, eq=False)
class Voice:
    """Who answers: the base with the adapter of that name, or without any if None."""

    name: str | None
    model: PreTrainedModel


@dataclass(eq=False)
class Shared:
    """The keys and values of the prefix that the rows of a group share, by layer.

    `laid` counts the positions stored so far, by layer.
    """

    layers: dict[int, Pair] = field(default_factory=dict)
    laid: dict[int, int] = field(default_factory=dict)

    def lay(self, kind: type[Held], layer: int, stack: Pair, length: int, stop: int) -> None:
        """Store a stack's positions up to `stop`, of `length`, unless they are stored already."""
        if layer not in self.layers:
            self.layers[layer] = kind.common(stack, length)
        start = self.laid.get(layer, 0)
        if start < stop:
            kind.lay(self.layers[layer], stack, start, stop)
            self.laid[layer] = stop


@dataclass
class Row:
    """A row of `shared` positions of its group and `own` ones; its next token is at `position`.

    `shared` includes a trained prefix, `position` does not.
    """

    group: Shared
    shared: int
    own: int
    position: int
    voice: Voice


def closed_up(count: int, gone: Sequence[int]) -> list[int]:
    """The former index of the row at each place, once the last rows have replaced those gone."""
    order = list(range(count))
    for at in sorted(gone, reverse=True):
        last = order.pop()
        if at < len(order):
            order[at] = last
    return order


class Held(Reader, Protocol):
    """Holds keys and values of rows. Stacks are (1, K, S, D); other shapes depend on the kind."""

    several: bool  # whether a row can take several tokens in one pass

    def __init__(self, most: int, room: int) -> None:
        """Room for `most` rows of `room` tokens."""

    @staticmethod
    def common(stack: Pair, length: int) -> Pair:
        """Room for the first `length` positions of a stack, to be shared by a group."""

    @staticmethod
    def lay(common: Pair, stack: Pair, start: int, stop: int) -> None:
        """Copy positions start to stop of a stack into `common`."""

    def fill(self, layer: int, at: int, stack: Pair, bottom: int, top: int) -> None:
        """Store positions bottom to top of a stack as row `at`'s own."""

    def copy(self, moves: Sequence[tuple[int, int]], own: int) -> None:
        """For each (place, row), copy the first `own` positions of that former row to the place."""

    def reserve(self, most: int, room: int, rows: int, own: int) -> None:
        """Resize to `most` rows of `room` tokens; keep the first `own` tokens of `rows` rows."""

    def begin(self, rows: Sequence[Row], counts: Sequence[int], device: torch.device) -> None:
        """Prepare a pass that reads counts[i] tokens of each row i, in this order."""
