"""A step that several processes take together: one loss, one gradient, one decision.

A process knows the learned tokens of its own documents only. Each therefore divides its sums by
the same constant, and when the counts have been added up the gradient is put right:

    sum over processes of (gradient of the summed loss / constant) x constant / learned tokens

which is what a single process computes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.distributed.tensor import DTensor

from brulee.data.encoding import Encoded
from brulee.training.passes import Passes
from brulee.training.world import World


@dataclass(frozen=True)
class Share:
    """What one process has of a step: its loss over the constant, and its counts."""

    loss: torch.Tensor
    tokens: int
    learned: int
    stop: bool


def combine(
    world: World, parameters: Sequence[torch.nn.Parameter], own: Share, constant: float
) -> Share:
    """Add up the shares and the gradients, in place; every process gets the same.

    A parameter that has no gradient in any process is left without, as it is in one alone: AdamW
    then takes no step with it.
    """
    moved = [parameter.grad is not None for parameter in parameters]
    counts = torch.tensor([own.tokens, own.learned, own.stop, *moved], dtype=torch.float64)
    held = torch.cat([own.loss.double().reshape(1), counts.to(own.loss.device)])
    loss, tokens, learned, stop, *known = world.sum(held).tolist()
    world.sum_gradients([p for p, by in zip(parameters, known, strict=True) if by])
    # Sharded gradients arrive as the mean over the processes.
    scale = constant / learned * (world.size if world.shards else 1)
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.mul_(scale)
    loss_value = torch.tensor(loss * constant / learned, device=own.loss.device)
    return Share(loss_value, int(tokens), int(learned), stop > 0)


def missing(world: World, passes: Passes, own: Sequence[Encoded]) -> int:
    """How many more passes another process makes of its documents; 0 where none is waited for.

    Processes meet here, so it is asked before the first pass: what they send each other has to be
    in one order, and between the passes of one no other sends anything but parts of layers.
    """
    if not world.shards:
        return 0
    count = passes.count(own)
    return world.most(count) - count


def fill(passes: Passes, count: int, other: Encoded) -> None:
    """Take part in so many passes that others have more of, adding nothing to the gradient.

    Sharded layers are gathered from all processes in every pass.
    """
    for loss in passes.each([other] * count):
        torch.autograd.backward(loss * 0.0)


def clip(world: World, parameters: Sequence[torch.nn.Parameter], limit: float) -> torch.Tensor:
    """Scale the gradient down to a norm of `limit` at most; returns the norm it had."""
    if not world.shards:
        return torch.nn.utils.clip_grad_norm_(parameters, limit)
    local = [_local(p.grad) for p in parameters if p.grad is not None]
    square = torch.stack([part.float().square().sum() for part in local]).sum()
    norm = world.sum(square).sqrt()
    if math.isfinite(limit):
        scale = (limit / (norm + 1e-6)).clamp(max=1.0)
        for part in local:
            part.mul_(scale)
    return norm


def all_finite(world: World, parameters: Sequence[torch.nn.Parameter]) -> bool:
    """Whether every value of the parameters, on whichever process, is finite."""
    bad = torch.stack([(~torch.isfinite(_local(p))).any() for p in parameters]).any()
    return not world.sum(bad.float()).item()


def _local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
