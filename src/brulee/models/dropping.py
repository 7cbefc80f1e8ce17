"""Dropout of which nothing is held for the backward pass but a seed.

Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting": while a
model trains, each value is zero with probability p, and multiplied with 1 / (1 - p) otherwise.
Which values are kept is a function of a seed, so that the backward pass, and a layer that is
computed again, can find out once more; torch keeps a mask of every value, and took a ninth of a
T5's training step on a CPU to draw it. The seed comes from torch's own random numbers, and p is the
nearest multiple of 1 / 65,536. On a GPU torch's own dropout is one launch, and is used.
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
    """X with about `share` of its values zero, and the others so much larger."""
    if not share:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, share)
    apply: Callable[..., torch.Tensor] = _Dropped.apply  # torch leaves it untyped
    return apply(x, share)


def drawn_seed() -> int:
    """62 bits of torch's random numbers."""
    return int(torch.randint(2**62, (), device="cpu"))


def drop(
    x: torch.Tensor, share: float, seed: int, into: torch.Tensor | None = None
) -> torch.Tensor:
    """The same values of x dropped for the same seed, shape and number format, however x lies.

    Written `into` that contiguous tensor, which may be x, or into a new one.
    """
    x = x.contiguous()  # a loop and torch's own operations would drop others
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
    """Ones and zeros, by draws of 16 bits, four of which are one of torch's."""
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64)
    draw = torch.Generator().manual_seed(seed)
    draws = words.random_(-(2**63), None, generator=draw).view(torch.int16)[: x.numel()]
    return draws.ge(asked - _STEPS // 2).view(x.shape).to(x.dtype)
