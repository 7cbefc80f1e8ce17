"""Root-mean-square normalisation with a backward of its own.

    r = 1 / sqrt(mean(x^2) + eps)        y = (x r) * gain
    dx = r (g - x r * mean(g x r))       where g = dy * gain

Zhang and Sennrich 2019, "Root Mean Square Layer Normalization". Sums are in fp32 (or wider).

Shapes: `T` tokens, `D` width; more dimensions may stand before D.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_TD: torch.Tensor, gain_D: torch.Tensor, eps: float, dtype: torch.dtype
    ) -> torch.Tensor:
        wide = torch.promote_types(x_TD.dtype, torch.float32)
        x_wide = x_TD.to(wide)
        r_T1 = x_wide.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        ctx.save_for_backward(x_TD, gain_D, r_T1)
        unit_TD = (x_wide * r_T1).to(dtype)
        return unit_TD.mul_(gain_D.to(dtype))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        x_TD, gain_D, r_T1 = ctx.saved_tensors
        unit_TD = x_TD * r_T1  # fp32, as r is
        d_y = grads[0].to(unit_TD.dtype)
        d_gain = None
        if ctx.needs_input_grad[1]:
            d_gain = (d_y * unit_TD).flatten(0, -2).sum(0).to(gain_D.dtype)
        d_unit = d_y * gain_D
        along_T1 = (d_unit * unit_TD).mean(-1, keepdim=True)
        d_x = d_unit.sub_(unit_TD.mul_(along_T1)).mul_(r_T1)
        return d_x.to(x_TD.dtype), d_gain, None, None


def rms_norm(
    x_TD: torch.Tensor, gain_D: torch.Tensor, eps: float, dtype: torch.dtype
) -> torch.Tensor:
    """X (..., D) normalised along D and multiplied with the gain, given in `dtype`."""
    apply: Callable[..., torch.Tensor] = _RMSNorm.apply  # torch leaves it untyped
    return apply(x_TD, gain_D, eps, dtype)
