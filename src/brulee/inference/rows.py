"""Keys and values of the rows that are being generated, and attention of a token of each to them.

    row 0    |---- shared by its group ----|-- own prompt --|- written -|
    row 1    |             "               |- own -|-- written --|
    row 2    |-- another group's --|------- own -------|- written -|

What a group shares is held once, and read once for the queries of all its rows. The rows' own lie
side by side in buffers of one length; what a shorter row has no tokens for is hidden from it.

Shapes: `B` rows, `H` query heads, `K` key heads, `G` = H / K, `D` head width, `C` room of a row,
`S` own positions of the longest row, `L` shared positions, `T` tokens of the pass (B and spare).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from brulee.inference.reading import Pair
from brulee.inference.same_bits import up


@dataclass(eq=False)
class Shared:
    """What the rows of a group have in common: L tokens' keys and values (K, L, D) by layer."""

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


class Rows:
    """At most `most` rows with `room` own tokens each. They are numbered from 0, without gaps."""

    def __init__(self, most: int, room: int) -> None:
        self.most, self.room = most, room
        self.rows: list[Row] = []
        self._buffers: dict[int, Pair] = {}
        self._hidden: dict[int | None, torch.Tensor] = {}
        self._groups: list[tuple[Shared, torch.Tensor, int]] = []

    def fill(self, layer: int, at: int, stack: Pair, bottom: int, top: int) -> None:
        """Keep positions from bottom to top of a stack (1, K, S, D) as row `at`'s own."""
        for buffer, held in zip(self._own(layer, stack), stack, strict=True):
            buffer[at, :, : top - bottom] = held[0, :, bottom:top]

    def drop(self, gone: list[int]) -> list[int]:
        """Forget rows; returns which of the rows before is now at each place."""
        order = list(range(len(self.rows)))
        for at in sorted(gone, reverse=True):
            last = order.pop()
            if at < len(order):
                order[at] = last
        moved = [(at, old) for at, old in enumerate(order) if at != old]
        for pair in self._buffers.values():
            for buffer in pair:
                for at, old in moved:
                    own = self.rows[old].own
                    buffer[at, :, :own] = buffer[old, :, :own]
        self.rows = [self.rows[old] for old in order]
        return order

    def select(self, parents: list[int]) -> None:
        """Put a copy of row parents[i] at every place i."""
        if parents == list(range(len(self.rows))):
            return
        own = max((self.rows[p].own for p in parents), default=0)
        at = torch.tensor(parents)
        for pair in self._buffers.values():
            for buffer in pair:
                buffer[: len(parents), :, :own] = buffer[at.to(buffer.device), :, :own]
        self.rows = [Row(**vars(self.rows[p])) for p in parents]

    def begin(self, device: torch.device) -> None:
        """Before the rows read a token each."""
        self._hidden = {}
        members: dict[Shared, list[int]] = {}
        for at, row in enumerate(self.rows):
            members.setdefault(row.group, []).append(at)
        self._groups = [
            (shared, torch.tensor(rows, device=device), self.rows[rows[0]].shared)
            for shared, rows in members.items()
        ]

    def end(self) -> None:
        """After they have."""
        for row in self.rows:
            row.own += 1
            row.position += 1

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
        B, K = len(self.rows), new[0].shape[1]
        keys, values = self._written(layer, new, T)
        query_TKGD = query[0].transpose(0, 1).reshape(T, K, H // K, D)
        query_BKGD = query_TKGD[:B] * (D**-0.5 if scaling is None else scaling)
        scores = query_BKGD @ keys.transpose(-1, -2) + self._mask(window, keys)[:, None, None]
        out = query.new_zeros(T, K, H // K, D)
        weights = torch.empty_like(scores)
        for shared, rows, length in self._groups:
            asked = query_BKGD[rows]
            own, found = self._shared(
                shared.layers[layer], asked, scores[rows], window, rows, length
            )
            weights[rows] = own
            out[rows] = found
        out[:B] += weights @ values
        return out.view(1, T, H, D)

    def _shared(
        self,
        held: Pair,
        query: torch.Tensor,
        scores: torch.Tensor,
        window: int | None,
        rows: torch.Tensor,
        length: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights of a group's own positions (n, K, G, S), and what it finds in the shared ones."""
        n, K, G, D = query.shape
        flat = query.transpose(0, 1).reshape(K, n * G, D)
        common = (flat @ held[0].transpose(-1, -2)).view(K, n, G, length).transpose(0, 1)
        if window is not None:
            own = torch.tensor([self.rows[r].own for r in rows.tolist()], device=query.device)
            behind = length + own[:, None] - torch.arange(length, device=query.device)
            common = common.masked_fill((behind >= window)[:, None, None], float("-inf"))
        both = torch.cat([common, scores], dim=-1).softmax(dim=-1, dtype=torch.float32)
        both = both.to(query.dtype)
        weights = both[..., :length].transpose(0, 1).reshape(K, n * G, length)
        found = (weights @ held[1]).view(K, n, G, D).transpose(0, 1)
        return both[..., length:], found

    def _written(self, layer: int, new: Pair, tokens: int) -> Pair:
        """The rows' own keys and values with the new token's, (B, K, S, D)."""
        B, S = len(self.rows), max(row.own for row in self.rows) + 1
        at = torch.arange(B, device=new[0].device)
        own = torch.tensor([row.own for row in self.rows], device=new[0].device)
        held = []
        for buffer, given in zip(self._own(layer, new), new, strict=True):
            buffer[at, :, own] = given[0, :, -tokens:].transpose(0, 1)[:B]
            held.append(buffer[:B, :, :S])
        return held[0], held[1]

    def _mask(self, window: int | None, keys: torch.Tensor) -> torch.Tensor:
        """What is added to the scores of own positions, (B, S)."""
        if window not in self._hidden:
            own = torch.tensor([row.own for row in self.rows], device=keys.device)
            behind = own[:, None] - torch.arange(keys.shape[2], device=keys.device)
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
