"""Root-mean-square normalisation with a custom backward pass.

    r = 1 / sqrt(mean(x^2) + eps)        y = (x r) * gain
    dx = r (g - x r * mean(g x r))       where g = dy * gain

Zhang and Sennrich 2019, "Root Mean Square Layer Normalization". Sums are in fp32 (or wider).
Gemma's norms store gain - 1 (`gain_of`).

Shapes: `T` tokens, `D` width; more dimensions may precede D.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from brulee.models.kernels import kernel

_PARTS = 16  # sums of the gain's gradient; enough for as many threads


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_TD: torch.Tensor, gain_D: torch.Tensor, eps: float, dtype: torch.dtype
    ) -> torch.Tensor:
        x_TD = x_TD.contiguous()
        y_TD, r_T1 = _normed(x_TD, gain_D, eps, dtype)
        ctx.save_for_backward(x_TD, gain_D, r_T1)
        return y_TD

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        x_TD, gain_D, r_T1 = ctx.saved_tensors
        (d_y,) = grads
        d_gain = None
        if ctx.needs_input_grad[1]:
            d_gain = _gain_backward(x_TD, r_T1, d_y).to(gain_D.dtype)
        run = kernel("norm_backward", x_TD, d_y.dtype)
        if run is None:
            return _backward(x_TD, gain_D, r_T1, d_y), d_gain, None, None
        d_x, d_y = torch.empty_like(x_TD), d_y.contiguous()
        run(x_TD, _held(gain_D), r_T1, d_y, d_x, r_T1.numel(), x_TD.shape[-1])
        return d_x, d_gain, None, None


def _normed(
    x_TD: torch.Tensor, gain_D: torch.Tensor, eps: float, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Y in `dtype`, and r."""
    run = kernel("norm_forward", x_TD, dtype)
    if run is not None:
        y_TD = torch.empty_like(x_TD, dtype=dtype)
        r_T1 = x_TD.new_empty(*x_TD.shape[:-1], 1, dtype=torch.float32)
        run(x_TD, _held(gain_D), y_TD, r_T1, r_T1.numel(), x_TD.shape[-1], eps)
        return y_TD, r_T1
    x_wide = x_TD.to(torch.promote_types(x_TD.dtype, torch.float32))
    r_T1 = x_wide.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
    unit_TD = (x_wide * r_T1).to(dtype)
    return unit_TD.mul_(gain_D.to(dtype)), r_T1


def _held(gain_D: torch.Tensor) -> torch.Tensor:
    """The gain as the kernels take it: fp32 in C, any dtype on a GPU, which saves a launch."""
    wide = gain_D if gain_D.is_cuda else gain_D.float()
    return wide.contiguous()


def _backward(
    x_TD: torch.Tensor, gain_D: torch.Tensor, r_T1: torch.Tensor, d_y: torch.Tensor
) -> torch.Tensor:
    unit_TD = x_TD * r_T1  # fp32, as r is
    d_unit = d_y.to(unit_TD.dtype) * gain_D
    along_T1 = (d_unit * unit_TD).mean(-1, keepdim=True)
    return d_unit.sub_(unit_TD.mul_(along_T1)).mul_(r_T1).to(x_TD.dtype)


def _gain_backward(x_TD: torch.Tensor, r_T1: torch.Tensor, d_y: torch.Tensor) -> torch.Tensor:
    """The gradient of the gain (D), in fp32 or wider."""
    run = kernel("norm_gain", x_TD, d_y.dtype)
    if run is None:
        return (d_y * (x_TD * r_T1)).flatten(0, -2).sum(0)
    sums_PD = r_T1.new_empty(_PARTS, x_TD.shape[-1])
    run(x_TD, r_T1, d_y.contiguous(), sums_PD, r_T1.numel(), x_TD.shape[-1], _PARTS)
    return sums_PD.sum(0)


def gain_of(weight_D: torch.Tensor, beyond: float) -> torch.Tensor:
    """The gain of a norm, its weight + `beyond`; (D), in fp32 or wider if `beyond` is not 0."""
    wide = torch.promote_types(weight_D.dtype, torch.float32)
    return weight_D if not beyond else weight_D.to(wide) + beyond


def rms_norm(
    x_TD: torch.Tensor, gain_D: torch.Tensor, eps: float, dtype: torch.dtype
) -> torch.Tensor:
    """X (..., D) normalised along D and multiplied by the gain, in `dtype`."""
    apply: Callable[..., torch.Tensor] = _RMSNorm.apply  # torch leaves it untyped
    return apply(x_TD, gain_D, eps, dtype)


def rms_norm_again(
    x_TD: torch.Tensor, gain_D: torch.Tensor, eps: float, dtype: torch.dtype
) -> Callable[[], torch.Tensor]:
    """A function that recomputes `rms_norm` without a gradient."""
    x_TD, gain_D = x_TD.detach(), gain_D.detach()
    return lambda: _normed(x_TD.contiguous(), gain_D, eps, dtype)[0]
