"""A base's weights, with gradients and moments if they are trained, sharded between processes.

That is FSDP2 (Zhao et al. 2023). What a method adds is small, and every process holds all of it.

`torch.distributed.fsdp.fully_shard` gathers a layer's weights just before use and frees them
afterwards, by hooks on the modules it was given. The loss bypasses the model's own forward to
project only the learned positions, so it becomes the outermost of these modules.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from brulee.data.batching import Batch


class ShardedLoss(nn.Module):
    """A model and its loss as one module, with every layer sharded."""

    def __init__(self, model: PreTrainedModel, loss: Callable[[Batch], torch.Tensor]) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, batch: Batch) -> torch.Tensor:
        """The summed loss of a batch."""
        return self._loss(batch)


def shard(
    model: PreTrainedModel,
    loss: Callable[[Batch], torch.Tensor],
    replicated: Collection[nn.Parameter] = (),
) -> ShardedLoss:
    """Shard the model, except what is `replicated`; call the result instead of the loss."""
    whole = ShardedLoss(model, loss)
    layers = set(model._no_split_modules or ())
    for module in list(model.modules()):
        if type(module).__name__ in layers:
            fully_shard(module, ignored_params=set(replicated))
    fully_shard(whole, ignored_params=set(replicated))
    return whole


@contextmanager
def held_whole(sharded: ShardedLoss) -> Iterator[None]:
    """Inside this block each process holds all weights, for code that bypasses modules' forward.

    All processes must enter it, after a first step.
    """
    parts = [module for module in sharded.modules() if isinstance(module, FSDPModule)]
    inner = parts[1:]  # the outermost comes first, and keeps its weights during a pass anyway
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
    """The full weights on the CPU, shared tensors once; {} in a process that does not write."""
    found: dict[str, torch.Tensor] = {}
    full: dict[int, torch.Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in full:
            held = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            full[id(tensor)] = held.detach().cpu() if writes else held.new_empty(0)
        if writes:
            found[name] = full[id(tensor)]
    return found
