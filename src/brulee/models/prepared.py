"""A pack prepared for a decoder's pass: token ids, attention spans and learned positions.

Shapes: `T` rows of the pack, `Q` rows that the last layer computes, `N` learned positions.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch

from brulee.data.batching import Batch
from brulee.models.fused_attention import Reading, reading
from brulee.models.spans import after_prefix, asking, spans_of


@dataclass(frozen=True)
class Prepared:
    """The inputs of a pass, prepared before anything is computed.

    `ids` and `positions` (T). `every` describes attention in all layers but the last, `last` in the
    last one, whose queries are rows `index` (Q) of the pack. `learned` (N) are the learned
    positions among these queries, and `targets` (N) the tokens that they predict.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    index: torch.Tensor
    learned: torch.Tensor
    targets: torch.Tensor
    every: Reading
    last: Reading

    def tensors(self) -> list[torch.Tensor]:
        """All tensors that differ between two passes of equal sizes, if attention is a kernel's."""
        own = [self.ids, self.positions, self.index, self.learned, self.targets]
        return [*own, *self.every.tensors(), *self.last.tensors()]


def prepare(batch: Batch, before: int) -> Prepared:
    """The inputs of a pass, on the pack's device; `before` is the length of the prefix."""
    ids, positions = (batch.inputs[n][0] for n in ("input_ids", "position_ids"))
    device = ids.device
    keys = len(ids) + before
    whole = after_prefix(spans_of(batch.segments, batch.shared), before)
    last = after_prefix(asking(batch.segments, batch.shared, batch.asked), before)
    stops = itertools.accumulate(batch.segments)
    ranges = [np.arange(s - n, s) for s, n in zip(stops, batch.asked, strict=True)]
    index = torch.from_numpy(np.concatenate(ranges)).to(device, non_blocking=True)
    return Prepared(
        ids,
        positions + before,
        index,
        torch.searchsorted(index, batch.positions),
        batch.targets,
        reading(whole, keys, device),
        reading(last, keys, device),
    )
