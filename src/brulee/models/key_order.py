"""Put the keys of a pack end to end, span by span, as variable-length kernels need them.

    rows of the pack     |- shared -|-- a --|- b -|---- c ----|
    end to end           |- shared -|- shared -|-- a --|- shared -|- b -|- shared -|---- c ----|

This is a gather. Under autograd, the gradient of rows that occur twice would be summed by atomic
additions, in an order that differs between runs and in the dtype of the keys. Here the gradient of
a row that one span reads is copied, and those of shared rows are summed over the spans in fp32.

Shapes: `T` keys of the pack, `R` keys end to end, `C` copies of `F` shared rows, `U` rows that no
span reads, `K` key heads, `D` head width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from brulee.models.spans import Span


@dataclass(frozen=True)
class KeyOrder:
    """Which of T rows is at each of R places, and the inverse, for gradients.

    `rows` (R) is the gather index. `place` (T) is a row's place among the R, 0 if it is shared or
    unread; `copies` (C, F) are all places of the first F rows; `unread` (U) are the rows without a
    place.
    """

    rows: torch.Tensor
    place: torch.Tensor
    copies: torch.Tensor
    unread: torch.Tensor

    def to(self, device: torch.device) -> KeyOrder:
        """The same on another device."""
        return KeyOrder(*(t.to(device, non_blocking=True) for t in self.tensors()))

    def tensors(self) -> list[torch.Tensor]:
        """Its parts, in order."""
        return [getattr(self, part.name) for part in fields(self)]


def key_order(spans: Sequence[Span], keys: int) -> KeyOrder | None:
    """The order in which these spans read `keys` rows; None if they are in that order already."""
    front = max(span.shared for span in spans)
    rows = np.concatenate([r for s in spans for r in (np.arange(s.shared), _own(s))])
    if len(rows) == keys and not front:
        return None  # spans are already end to end, and all rows are read
    place = np.full(keys, -1)
    copies, at = [], 0
    for span in spans:
        # The front rows are read by the spans that share them, and by the front's own span.
        if span.shared or (front and span.keys.start == 0):
            copies.append(np.arange(at, at + front))
        place[span.keys] = np.arange(at + span.shared, at + span.read)
        at += span.read
    place[:front] = 0
    every = np.stack(copies) if copies else np.empty((0, 0), dtype=np.int64)
    parts = (rows, place.clip(min=0), every, np.flatnonzero(place < 0))
    return KeyOrder(*(torch.from_numpy(part) for part in parts))


def _own(span: Span) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.arange(span.keys.start, span.keys.stop)


def put_in_order(x_TKD: torch.Tensor, order: KeyOrder) -> torch.Tensor:
    """Gather keys or values, (T, K, D) -> (R, K, D)."""
    apply: Callable[..., torch.Tensor] = _PutInOrder.apply  # torch leaves it untyped
    return apply(x_TKD, order)


class _PutInOrder(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TKD: torch.Tensor, order: KeyOrder) -> torch.Tensor:
        ctx.order = order
        return x_TKD.index_select(0, order.rows)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        (d_RKD,) = grads
        order: KeyOrder = ctx.order
        d_TKD = d_RKD.index_select(0, order.place)
        if order.unread.numel():
            d_TKD.index_fill_(0, order.unread, 0)
        copies, front = order.copies.shape
        if front:
            d_CFKD = d_RKD.index_select(0, order.copies.flatten())
            d_CFKD = d_CFKD.view(copies, front, *d_RKD.shape[1:])
            torch.sum(d_CFKD, 0, out=d_TKD[:front])  # accumulates in fp32 and rounds once
        return d_TKD, None
