"""Dropout that saves only a seed for the backward pass.

Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting": in
training, each value is zero with probability p, and multiplied by 1 / (1 - p) otherwise. Which
values are kept is a function of a seed, so that the backward pass and recomputed layers get the
same ones. torch stores a mask of all values; drawing it took a ninth of a T5's training step on a
CPU. The seed comes from torch's random number generator, and p is rounded to a multiple of
1 / 65,536. On a GPU torch's own dropout is a single launch, and is used instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from brulee.models.kernels import kernel

_STEPS = 2**16  # of the probability


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, share: float) -> torch.Tensor:
        ctx.seed, ctx.share = drawn_seed(), share
        return drop(x, share, ctx.seed)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return drop(grads[0], ctx.share, ctx.seed), None


def dropped(x: torch.Tensor, share: float) -> torch.Tensor:
    """X after dropout: about `share` of its values zero, the others scaled by 1 / (1 - share)."""
    if not share:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, share)
    apply: Callable[..., torch.Tensor] = _Dropped.apply  # torch leaves it untyped
    return apply(x, share)


def drawn_seed() -> int:
    """A seed of 62 bits from torch's random number generator."""
    return int(torch.randint(2**62, (), device="cpu"))


def drop(
    x: torch.Tensor, share: float, seed: int, into: torch.Tensor | None = None
) -> torch.Tensor:
    """Dropout as a function of seed, shape and dtype, whatever the strides of x.

    The result is written `into` a contiguous tensor, which may be x, or into a new one.
    """
    x = x.contiguous()  # with other strides, the kernel and torch would drop different values
    out = torch.empty_like(x) if into is None else into
    assert out.is_contiguous(), "as what a loop writes into"
    asked = round(share * _STEPS)
    if asked == _STEPS:
        return out.zero_()
    times = _STEPS / (_STEPS - asked)
    run = kernel("drop", x)
    if run is None:
        return torch.mul(x, _kept(x, asked, seed), out=out).mul_(times)
    run(x, out, x.numel(), seed % 2**31, seed // 2**31, asked * _STEPS, times)
    return out


def _kept(x: torch.Tensor, asked: int, seed: int) -> torch.Tensor:
    """A mask of ones and zeros from draws of 16 bits, four from each of torch's 64-bit draws.

    Drawn on the CPU, wherever x is.
    """
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device="cpu")
    draw = torch.Generator().manual_seed(seed)
    draws = words.random_(-(2**63), None, generator=draw).view(torch.int16)[: x.numel()]
    return draws.ge(asked - _STEPS // 2).view(x.shape).to(x.device).to(x.dtype)
