"""Sample i as a pure function of (seed, i), so that resuming a run stores one integer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

_ROUNDS = 6
# Below 64 positions a Feistel network has too few states to shuffle well, so walk a wider one.
_LEAST_HALF_BITS = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """The epoch a sample belongs to, its row, and the number of the template that phrases it."""

    epoch: int
    row: int
    template: int


class Mixture:
    """Every row once per epoch, in an order of its own each epoch, each time newly phrased.

    The order is a Feistel network over the positions, walked until it lands inside the epoch
    (Black and Rogaway 2002, "Ciphers with arbitrary finite domains"), so `sample` takes constant
    time and memory whatever i is. `rows` are the indices to draw from; `templates` how many there
    are. Raises ValueError where either is empty.
    """

    def __init__(self, rows: Sequence[int], templates: int, seed: int) -> None:
        if not rows or templates < 1:
            raise ValueError(f"a mixture needs rows and templates, not {len(rows)} and {templates}")
        self.rows, self.templates, self.seed = rows, templates, seed
        bits = (len(rows) - 1).bit_length()
        self._half = max((bits + 1) // 2, _LEAST_HALF_BITS)

    def __len__(self) -> int:
        """Samples in one epoch."""
        return len(self.rows)

    def sample(self, i: int) -> Sample:
        """Sample i, counted from 0 over all epochs without end."""
        if i < 0:
            raise IndexError(f"samples are counted from 0, not {i}")
        epoch, position = divmod(i, len(self.rows))
        row = self.rows[self._shuffled(position, epoch)]
        return Sample(epoch, row, _hash(self.seed, "template", epoch, row) % self.templates)

    def _shuffled(self, position: int, epoch: int) -> int:
        position = self._permute(position, epoch)
        while position >= len(self.rows):
            position = self._permute(position, epoch)
        return position

    def _permute(self, position: int, epoch: int) -> int:
        mask = (1 << self._half) - 1
        left, right = position >> self._half, position & mask
        for step in range(_ROUNDS):
            left, right = right, left ^ (_hash(self.seed, "order", epoch, step, right) & mask)
        return left << self._half | right


def _hash(*parts: object) -> int:
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
