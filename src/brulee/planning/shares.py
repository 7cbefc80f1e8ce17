"""What each process holds of a model that is sharded between several (FSDP2).

In every process lie its part of each layer and of what is outside of layers, and all that a method
added; during a pass also a gathered layer, the next one on its way, and what is outside of layers.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Shares:
    """Bytes of weights in each of so many `processes`: `held` always, `gathered` in a pass.

    `apart` are ids of the parameters of which each has all.
    """

    processes: int
    held: int
    gathered: int
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
    model: PreTrainedModel, replicated: Collection[nn.Parameter], processes: int
) -> Shares:
    """The shares of a model that is not sharded yet, as `training.sharding.shard` will cut it."""
    apart = frozenset(id(p) for p in replicated)
    layers = set(model._no_split_modules or ())
    inner = [m for m in model.modules() if type(m).__name__ in layers]
    sizes = [sum(_bytes(p) for p in layer.parameters() if id(p) not in apart) for layer in inner]
    within = {id(p) for layer in inner for p in layer.parameters()}
    outside = [p for p in model.parameters() if id(p) not in within | apart]
    parted = [p for p in model.parameters() if id(p) not in apart]
    held = sum(_share(p, processes) * p.element_size() for p in parted)
    gathered = sum(map(_bytes, outside)) + sum(sorted(sizes)[-2:])
    whole = sum(_bytes(p) for p in replicated)
    return Shares(processes, held + whole, gathered, apart)


def _bytes(parameter: nn.Parameter) -> int:
    return parameter.numel() * parameter.element_size()


def _share(parameter: nn.Parameter, processes: int) -> int:
    """The number of values of the first process: rows are divided, the first has most."""
    if not parameter.numel():
        return 0
    rows = parameter.shape[0]
    return math.ceil(rows / processes) * (parameter.numel() // rows)
