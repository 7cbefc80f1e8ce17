"""Rows' keys and values in the layout of the C loop `attend_rows` of models/kernels, on a CPU.

Keys are stored with positions contiguous, so that many are scored at once. A row may take several
tokens per pass; each attends to those before it. A token's sums are in the order of its keys, so
that they do not depend on other rows, on what is shared, or on how many tokens a pass has.

Shapes: `B` rows, `H` query heads, `K` key heads, `D` head width, `C` room of a row, `L` shared
positions, `T` tokens of the pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from brulee.inference.reading import Pair
from brulee.inference.row import Row, Shared
from brulee.inference.same_bits import up
from brulee.models.kernels import kernel

WIDTH = 16  # head widths must be a multiple of it
STEP = 32  # positions scored at a time


class HeldInC:
    """Buffers of keys (B, K, D, C) and values (B, K, C, D) of every layer."""

    several = True

    def __init__(self, most: int, room: int) -> None:
        self.most, self.room = most, up(room, STEP)
        self._buffers: dict[int, Pair] = {}
        self._rows: Sequence[Row] = ()
        self._groups: list[Shared] = []
        self._tables: dict[int, torch.Tensor] = {}
        self._at = torch.empty(0)

    @staticmethod
    def fits(stack: Pair) -> bool:
        """Whether the loop supports keys and values such as these."""
        keys, values = stack
        return (
            keys.dtype == values.dtype
            and keys.shape == values.shape
            and keys.shape[-1] % WIDTH == 0
            and kernel("attend_rows", keys) is not None
        )

    @staticmethod
    def common(stack: Pair, length: int) -> Pair:
        """Room for the first `length` positions of a stack: (K, D, L and padding), (K, L, D)."""
        _, K, _, D = stack[0].shape
        return stack[0].new_zeros(K, D, up(length, STEP)), stack[1].new_empty(K, length, D)

    @staticmethod
    def lay(common: Pair, stack: Pair, start: int, stop: int) -> None:
        """Copy positions start to stop of a stack into `common`."""
        common[0][..., start:stop] = stack[0][0, :, start:stop].transpose(1, 2)
        common[1][:, start:stop] = stack[1][0, :, start:stop]

    def fill(self, layer: int, at: int, stack: Pair, bottom: int, top: int) -> None:
        """Store positions bottom to top of a stack (1, K, S, D) as row `at`'s own."""
        if layer not in self._buffers:
            _, K, _, D = stack[0].shape
            self._buffers[layer] = self._empty(stack[0], K, D)
        keys, values = self._buffers[layer]
        keys[at, :, :, : top - bottom] = stack[0][0, :, bottom:top].transpose(1, 2)
        values[at, :, : top - bottom] = stack[1][0, :, bottom:top]

    def copy(self, moves: Sequence[tuple[int, int]], own: int) -> None:
        """For each (place, row), copy the first `own` positions of that former row to the place."""
        places, rows = (torch.tensor(side, dtype=torch.long) for side in zip(*moves, strict=True))
        for keys, values in self._buffers.values():
            keys[places, :, :, :own] = keys[rows, :, :, :own]
            values[places, :, :own] = values[rows, :, :own]

    def reserve(self, most: int, room: int, rows: int, own: int) -> None:
        """Resize to `most` rows of `room` tokens; keep the first `own` tokens of `rows` rows."""
        self.most, self.room = most, up(room, STEP)
        for layer, (keys, values) in self._buffers.items():
            _, K, D, _ = keys.shape
            wider = self._empty(keys, K, D)
            wider[0][:rows, :, :, :own] = keys[:rows, :, :, :own]
            wider[1][:rows, :, :own] = values[:rows, :, :own]
            self._buffers[layer] = wider

    def _empty(self, like: torch.Tensor, heads: int, width: int) -> Pair:
        keys = like.new_zeros(self.most, heads, width, self.room)
        return keys, like.new_zeros(self.most, heads, self.room, width)

    def begin(self, rows: Sequence[Row], counts: Sequence[int], device: torch.device) -> None:
        """Prepare a pass that reads counts[i] tokens of each row i, in this order."""
        del device  # always the CPU
        self._rows = rows
        groups = [row.group for row in rows]
        if groups != self._groups:
            self._groups, self._tables = groups, {}
        self._at = torch.tensor(
            [
                (place, row.own + i)
                for place, (row, count) in enumerate(zip(rows, counts, strict=True))
                for i in range(count)
            ]
        )

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        new: Pair,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        """Attention of one layer: query (1, H, T, D), new keys (1, K, P + T, D); (1, T, H, D)."""
        _, H, T, D = query.shape
        buffers = self._buffers[layer]
        dtype = buffers[0].dtype
        keys, values = (x[0, :, -T:].transpose(0, 1).to(dtype).contiguous() for x in new)
        asked = query[0].transpose(0, 1).to(dtype).contiguous()
        out = torch.zeros_like(asked)
        loop = kernel("attend_rows", asked)
        assert loop is not None, "it was there when the rows were filled"
        scale = D**-0.5 if scaling is None else scaling
        loop(
            asked, keys, values, *buffers, self._table(layer), self._at, out,
            len(self._at), H, keys.shape[1], D, self.room, window or 0, scale,
        )  # fmt: skip
        return out.to(query.dtype)[None]

    def _table(self, layer: int) -> torch.Tensor:
        """(B, 4): addresses of the group's keys and values, their number, the keys' stride."""
        if layer not in self._tables:
            shared = [row.group.layers[layer] for row in self._rows]
            self._tables[layer] = torch.tensor(
                [(k.data_ptr(), v.data_ptr(), v.shape[1], k.shape[2]) for k, v in shared]
            )
        return self._tables[layer]
