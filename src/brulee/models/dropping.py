"""Dropout from a quarter of the random numbers, and a mask of one byte a value.

Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting": while a
model trains, each value is zero with probability p and otherwise divided by 1 - p. torch draws a
number of 32 bits and keeps four bytes for each value; on a CPU that took a ninth of a T5's training
step. Here one word of 64 bits is drawn for four values, so that p is what is nearest to it among
multiples of 1 / 65,536, which is what kept values are divided by one less of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_STEPS = 2**16


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, share: float) -> torch.Tensor:
        kept = kept_of(x, share)
        ctx.save_for_backward(kept)
        ctx.times = times_of(share)
        return x.mul(kept).mul_(ctx.times)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (kept,) = ctx.saved_tensors
        return grads[0].mul(kept).mul_(ctx.times), None


def dropped(x: torch.Tensor, share: float) -> torch.Tensor:
    """X with about `share` of its values zero and the others multiplied with `times_of(share)`.

    Drawn from torch's own random numbers.
    """
    if not share:
        return x
    apply: Callable[..., torch.Tensor] = _Dropped.apply  # torch leaves it untyped
    return apply(x, share)


def kept_of(x: torch.Tensor, share: float) -> torch.Tensor:
    """Which values of a tensor like x stay, drawn by chance, in booleans."""
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
    draws = words.random_(-(2**63), None).view(torch.int16)[: x.numel()]
    return draws.ge(round(share * _STEPS) - _STEPS // 2).view(x.shape)


def times_of(share: float) -> float:
    """What values that stay are multiplied with, so that the mean stays as it was."""
    return _STEPS / (_STEPS - round(share * _STEPS))
