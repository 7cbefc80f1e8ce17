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
    """What the rows of a group have in common: L tokens' keys and values by layer."""

    layers: dict[int, Pair] = field(default_factory=dict)


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


class Held(Reader, Protocol):
    """Keys and values of rows. Shapes: stacks (1, K, S, D); the rest is for each kind to say."""

    several: bool  # whether a row may be given several tokens at once

    def common(self, stack: Pair, length: int) -> Pair:
        """The first `length` positions of a stack, to be shared by a group."""

    def fill(self, layer: int, at: int, stack: Pair, bottom: int, top: int) -> None:
        """Keep positions from bottom to top of a stack as row `at`'s own."""

    def copy(self, moves: Sequence[tuple[int, int]], own: int) -> None:
        """For each (place, row): put the first `own` positions of that row, as it was, there."""

    def reserve(self, most: int, room: int, rows: int) -> None:
        """Have room for `most` rows of `room` tokens, which are not fewer; keep so many rows."""

    def begin(self, rows: Sequence[Row], counts: Sequence[int], device: torch.device) -> None:
        """Before so many tokens of each row are read, which stand in the pass in this order."""
