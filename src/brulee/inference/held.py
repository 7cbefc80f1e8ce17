"""Rows' keys and values as tensors, with attention in PyTorch operations, on any device.

A group's shared prefix is read once for the queries of all its rows; positions beyond a shorter
row's tokens are masked. A row takes one token per pass.

Shapes: `B` rows, `H` query heads, `K` key heads, `G` = H / K, `D` head width, `E` that of values,
`C` room of a row, `S` own positions of the longest row, `L` shared positions, `T` tokens of the
pass (B and padding).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from brulee.inference.on_device import on_device
from brulee.inference.reading import Pair
from brulee.inference.row import Row, Shared
from brulee.inference.same_bits import up
from brulee.models.wide_products import wide_bmm


class HeldTensors:
    """Buffers (B, K, C, D) of every layer."""

    several = False

    def __init__(self, most: int, room: int) -> None:
        self.most, self.room = most, room
        self._rows: Sequence[Row] = ()
        self._buffers: dict[int, Pair] = {}
        self._hidden: dict[int | None, torch.Tensor] = {}
        self._groups: list[tuple[Shared, torch.Tensor, int]] = []
        self._at = self._counts = torch.empty(0, dtype=torch.long)

    @staticmethod
    def common(stack: Pair, length: int) -> Pair:
        """Room for the first `length` positions of a stack, (K, L, D)."""
        keys, values = (x.new_empty(x.shape[1], length, x.shape[3]) for x in stack)
        return keys, values

    @staticmethod
    def lay(common: Pair, stack: Pair, start: int, stop: int) -> None:
        """Copy positions start to stop of a stack into `common`."""
        for aside, held in zip(common, stack, strict=True):
            aside[:, start:stop] = held[0, :, start:stop]

    def fill(self, layer: int, at: int, stack: Pair, bottom: int, top: int) -> None:
        """Store positions bottom to top of a stack (1, K, S, D) as row `at`'s own."""
        for buffer, held in zip(self._own(layer, stack), stack, strict=True):
            buffer[at, :, : top - bottom] = held[0, :, bottom:top]

    def copy(self, moves: Sequence[tuple[int, int]], own: int) -> None:
        """For each (place, row), copy the first `own` positions of that former row to the place."""
        buffers = [buffer for pair in self._buffers.values() for buffer in pair]
        if not buffers:
            return
        # Once for all layers.
        places, rows = on_device(moves, buffers[0].device).unbind(1)
        for buffer in buffers:
            buffer[places, :, :own] = buffer[rows, :, :own]

    def reserve(self, most: int, room: int, rows: int, own: int) -> None:
        """Resize to `most` rows of `room` tokens; keep the first `own` tokens of `rows` rows."""
        self.most, self.room, old = most, room, self._buffers
        self._buffers = {}
        for layer, pair in old.items():
            for buffer, held in zip(self._own(layer, pair), pair, strict=True):
                buffer[:rows, :, :own] = held[:rows, :, :own]

    def begin(self, rows: Sequence[Row], counts: Sequence[int], device: torch.device) -> None:
        """Prepare a pass that reads one token of each row."""
        assert set(counts) <= {1}, "a row is given one token at a time"
        self._rows, self._hidden = rows, {}
        # Once for all layers.
        self._at = torch.arange(len(rows), device=device)
        self._counts = on_device([row.own for row in rows], device)
        members: dict[Shared, list[int]] = {}
        for at, row in enumerate(rows):
            members.setdefault(row.group, []).append(at)
        self._groups = [
            (shared, on_device(own, device), rows[own[0]].shared) for shared, own in members.items()
        ]

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        new: Pair,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        """Attention of one layer: query (1, H, T, D), new keys (1, K, P + T, D); (1, T, H, E)."""
        _, H, T, D = query.shape
        B, K, E = len(self._rows), new[0].shape[1], new[1].shape[3]
        keys, values = self._written(layer, new, T)
        query_TKGD = query[0].transpose(0, 1).reshape(T, K, H // K, D)
        query_BKGD, scale = query_TKGD[:B], D**-0.5 if scaling is None else scaling
        turned = keys.flatten(0, 1).transpose(-1, -2)
        scores = wide_bmm(query_BKGD.flatten(0, 1), turned).view(B, K, H // K, -1).mul_(scale)
        scores += self._mask(window, keys)[:, None, None]
        out = query.new_zeros(T, K, H // K, E)
        weights = torch.empty_like(scores, dtype=query.dtype)
        for shared, rows, length in self._groups:
            asked = query_BKGD[rows]
            own, found = self._shared(
                shared.layers[layer], asked, scale, scores[rows], window, rows, length
            )
            weights[rows] = own
            out[rows] = found
        out[:B] += weights @ values
        return out.view(1, T, H, E)

    def _shared(
        self,
        held: Pair,
        query: torch.Tensor,
        scale: float,
        scores: torch.Tensor,
        window: int | None,
        rows: torch.Tensor,
        length: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights of a group's own positions (n, K, G, S), and attention over the shared ones."""
        n, K, G, D = query.shape
        flat = query.transpose(0, 1).reshape(K, n * G, D)
        common = wide_bmm(flat, held[0].transpose(-1, -2)).mul_(scale)
        common = common.view(K, n, G, length).transpose(0, 1)
        if window is not None:
            behind = length + self._counts[rows, None] - torch.arange(length, device=query.device)
            common = common.masked_fill((behind >= window)[:, None, None], float("-inf"))
        both = torch.cat([common, scores], dim=-1).softmax(dim=-1, dtype=torch.float32)
        both = both.to(query.dtype)
        weights = both[..., :length].transpose(0, 1).reshape(K, n * G, length)
        found = (weights @ held[1]).view(K, n, G, held[1].shape[2]).transpose(0, 1)
        return both[..., length:], found

    def _written(self, layer: int, new: Pair, tokens: int) -> Pair:
        """The rows' own keys and values including the new token's, (B, K, S, D)."""
        B, S = len(self._rows), max(row.own for row in self._rows) + 1
        held = []
        for buffer, given in zip(self._own(layer, new), new, strict=True):
            buffer[self._at, :, self._counts] = given[0, :, -tokens:].transpose(0, 1)[:B]
            held.append(buffer[:B, :, :S])
        return held[0], held[1]

    def _mask(self, window: int | None, keys: torch.Tensor) -> torch.Tensor:
        """The additive mask for the scores of own positions, (B, S)."""
        if window not in self._hidden:
            behind = self._counts[:, None] - torch.arange(keys.shape[2], device=keys.device)
            hidden = (behind < 0) | (behind >= (window or self.room + 1))
            zeros = keys.new_zeros(hidden.shape)
            self._hidden[window] = zeros.masked_fill_(hidden, float("-inf"))
        return self._hidden[window]

    def _own(self, layer: int, like: Pair) -> Pair:
        if layer not in self._buffers:
            keys, values = (
                x.new_zeros(up(self.most), x.shape[1], self.room, x.shape[3]) for x in like
            )
            self._buffers[layer] = (keys, values)
        return self._buffers[layer]
