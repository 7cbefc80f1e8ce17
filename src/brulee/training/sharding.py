"""Weights, gradients and moments cut up between processes (FSDP2): Zhao et al. 2023.

`torch.distributed.fsdp.fully_shard` gathers a layer's weights just before they are needed and lets
them go after. Its hooks sit on the modules it was given, so the loss, which goes past the model's
own forward to project the learned positions only, becomes the outermost of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from brulee.data.batching import Batch


class ShardedLoss(nn.Module):
    """A model and its loss as one module, every layer of it sharded."""

    def __init__(self, model: PreTrainedModel, loss: Callable[[Batch], torch.Tensor]) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, batch: Batch) -> torch.Tensor:
        """The summed loss of a batch."""
        return self._loss(batch)


def shard(model: PreTrainedModel, loss: Callable[[Batch], torch.Tensor]) -> ShardedLoss:
    """Cut the model up between all processes; call what comes back instead of the loss."""
    whole = ShardedLoss(model, loss)
    layers = set(model._no_split_modules or ())
    for module in list(model.modules()):
        if type(module).__name__ in layers:
            fully_shard(module)
    fully_shard(whole)
    return whole


@contextmanager
def held_whole(sharded: ShardedLoss) -> Iterator[None]:
    """Within it each process holds all weights, for what goes past the modules' own forward.

    Every process enters it, after a first step.
    """
    parts = [module for module in sharded.modules() if isinstance(module, FSDPModule)]
    inner = parts[1:]  # the outermost comes first, and is not let go in a pass anyway
    for part in parts:
        part.unshard()
    for part in inner:
        part.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for part in inner:
            part.set_reshard_after_forward(True, recurse=False)
        for part in parts:
            part.reshard()


def gathered(model: PreTrainedModel, writes: bool) -> dict[str, torch.Tensor]:
    """The whole weights on the CPU, what is shared once; {} in a process that writes nothing."""
    found: dict[str, torch.Tensor] = {}
    full: dict[int, torch.Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in full:
            held = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            full[id(tensor)] = held.detach().cpu() if writes else held.new_empty(0)
        if writes:
            found[name] = full[id(tensor)]
    return found
