"""What each process holds of a model that is sharded between several (FSDP2).

In every process lie its part of each layer and of what is outside of layers, and all that a method
added; during a pass also a gathered layer, the next one on its way, and what is outside of layers.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from torch import nn
from transformers import PreTrainedModel

from brulee.models.shard_layers import shard_layers
from brulee.planning.memory import Memory


@dataclass(frozen=True)
class Shares:
    """Bytes of weights in each of so many `processes`: `held` always, `gathered` in a pass.

    `apart` are ids of the parameters of which each has all; `whole` are the bytes of the model.
    """

    processes: int
    held: int
    gathered: int
    whole: int
    apart: frozenset[int]

    @property
    def peak(self) -> int:
        """Bytes of weights during a pass."""
        return self.held + self.gathered

    def trained(self, parameters: Sequence[nn.Parameter]) -> int:
        """The number of trained values that a process has."""
        whole = sum(p.numel() for p in parameters if id(p) in self.apart)
        parted = sum(_share(p, self.processes) for p in parameters if id(p) not in self.apart)
        return whole + parted


def shares_of(
    model: PreTrainedModel,
    replicated: Collection[nn.Parameter],
    processes: int,
    itemsize: int | None = None,
) -> Shares:
    """The shares of a model that is not sharded yet, as `training.sharding.shard` will cut it.

    As if it were held in a dtype of `itemsize` bytes, if that is given.
    """

    def size(values: int, of: nn.Parameter) -> int:
        return values * (itemsize or of.element_size())

    apart = frozenset(id(p) for p in replicated)
    inner = shard_layers(model)
    sizes = [
        sum(size(p.numel(), p) for p in layer.parameters() if id(p) not in apart) for layer in inner
    ]
    within = {id(p) for layer in inner for p in layer.parameters()}
    parted = [p for p in model.parameters() if id(p) not in apart]
    outside = sum(size(p.numel(), p) for p in parted if id(p) not in within)
    held = sum(size(_share(p, processes), p) for p in parted)
    whole = sum(size(p.numel(), p) for p in replicated)
    return Shares(
        processes=processes,
        held=held + whole,
        gathered=outside + sum(sorted(sizes)[-2:]),
        whole=sum(size(p.numel(), p) for p in parted) + whole,
        apart=apart,
    )


def in_each(whole: Memory, shares: Shares, trains_base: bool) -> Memory:
    """What each process needs for a training for which one process would need `whole`.

    Activations are those of a pass, as large as that of one process. If the base itself is trained,
    gradients of two layers and of what is outside of layers are whole while they are summed.
    """
    weights = whole.weights - shares.whole + shares.peak
    if not trains_base:
        return replace(whole, weights=weights)
    return replace(
        whole,
        weights=weights,
        gradients=whole.gradients // shares.processes + shares.gathered,
        optimizer=whole.optimizer // shares.processes,
    )


def _share(parameter: nn.Parameter, processes: int) -> int:
    """The number of values of the first process: rows are divided, the first has most."""
    if not parameter.numel():
        return 0
    rows = parameter.shape[0]
    return math.ceil(rows / processes) * (parameter.numel() // rows)
