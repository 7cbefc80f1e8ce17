"""A step shared by several processes: one loss, one gradient, one decision.

A process only knows the learned tokens of its own documents (`Encoded.weight`). So each divides its
sums by the same constant, and the gradient is rescaled once the counts are summed:

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
from brulee.training.whole import are_sharded
from brulee.training.world import World


@dataclass(frozen=True)
class Share:
    """One process's part of a step: its loss over the constant, and its counts."""

    loss: torch.Tensor
    tokens: int
    weight: float
    stop: bool


def combine(
    world: World, parameters: Sequence[torch.nn.Parameter], own: Share, constant: float
) -> Share:
    """Sum shares and gradients over processes, in place; every process gets the same result.

    A parameter that has a gradient in no process keeps none, as in a single process: AdamW then
    skips it.
    """
    moved = [parameter.grad is not None for parameter in parameters]
    counts = torch.tensor([own.tokens, own.weight, own.stop, *moved], dtype=torch.float64)
    held = torch.cat([own.loss.double().reshape(1), counts.to(own.loss.device)])
    loss, tokens, weight, stop, *known = world.sum(held).tolist()
    world.sum_gradients([p for p, by in zip(parameters, known, strict=True) if by])
    # FSDP averages sharded gradients over the processes.
    scale = constant / weight * (world.size if are_sharded(parameters) else 1)
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.mul_(scale)
    loss_value = torch.tensor(loss * constant / weight, device=own.loss.device)
    return Share(loss_value, int(tokens), weight, stop > 0)


def missing(world: World, passes: Passes, own: Sequence[Encoded]) -> int:
    """How many more passes another process makes of its documents; 0 unless sharded.

    A collective call, so it comes before the first pass: all processes must communicate in the same
    order, and between the passes of a step only shards of layers are exchanged.
    """
    if not world.shards:
        return 0
    count = passes.count(own)
    return world.most(count) - count


def fill(passes: Passes, count: int, other: Encoded) -> None:
    """Take part in `count` passes of other processes, adding nothing to the gradient.

    Sharded layers are gathered from all processes in every pass.
    """
    for loss in passes.each([other] * count):
        torch.autograd.backward(loss * 0.0)


def clip(world: World, parameters: Sequence[torch.nn.Parameter], limit: float) -> torch.Tensor:
    """Clip the gradient to a norm of at most `limit`; returns its original norm."""
    if not are_sharded(parameters):
        if all(parameter.device.type == "cpu" for parameter in parameters):
            return _clip_on_cpu([p.grad for p in parameters if p.grad is not None], limit)
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        return norm.to(parameters[0].device)  # without any gradient, it is on the CPU
    local = [_local(p.grad) for p in parameters if p.grad is not None]
    square = torch.zeros((), device=parameters[0].device)  # as of a process without any gradient
    if local:
        square = torch.stack([part.float().square().sum() for part in local]).sum()
    norm = world.sum(square).sqrt()
    if math.isfinite(limit):
        scale = (limit / (norm + 1e-6)).clamp(max=1.0)
        for part in local:
            part.mul_(scale)
    return norm


def _clip_on_cpu(gradients: list[torch.Tensor], limit: float) -> torch.Tensor:
    """The same where reading the norm is free: it spares a pass over what need not be clipped."""
    # A dot product reads memory at about twice the rate of torch's norm.
    squares = [torch.dot(flat, flat) for flat in (g.flatten() for g in gradients)]
    norm = torch.stack(squares).sum().sqrt() if squares else torch.zeros(())
    if norm > limit:
        torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).item())
    return norm


def all_finite(world: World, parameters: Sequence[torch.nn.Parameter]) -> bool:
    """Whether all parameters are finite, in every process."""
    bad = torch.stack([(~torch.isfinite(_local(p))).any() for p in parameters]).any()
    return not world.sum(bad.float()).item()


def _local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
