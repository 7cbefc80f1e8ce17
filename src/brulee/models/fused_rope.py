"""Rotary positions, turned in three operations and turned back in three.

    y_1 = x_1 cos_1 - x_2 sin_1        y_2 = x_2 cos_2 + x_1 sin_2        x = [x_1 | x_2]

Su et al. 2021, "RoFormer", in transformers' layout: a head's first half turns with its second.

Shapes: `T` tokens, `H` heads, `D` head width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_THD: torch.Tensor, cos_TD: torch.Tensor, sin_TD: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(cos_TD, sin_TD)
        cos_T1D, sin_T1D = cos_TD[:, None], sin_TD[:, None]
        half = x_THD.shape[-1] // 2
        y_THD = x_THD * cos_T1D
        y_THD[..., :half].addcmul_(x_THD[..., half:], sin_T1D[..., :half], value=-1)
        y_THD[..., half:].addcmul_(x_THD[..., :half], sin_T1D[..., half:])
        return y_THD

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        cos_TD, sin_TD = ctx.saved_tensors
        (d_y,) = grads
        cos_T1D, sin_T1D = cos_TD[:, None], sin_TD[:, None]
        half = d_y.shape[-1] // 2
        d_x = d_y * cos_T1D
        d_x[..., :half].addcmul_(d_y[..., half:], sin_T1D[..., half:])
        d_x[..., half:].addcmul_(d_y[..., :half], sin_T1D[..., :half], value=-1)
        return d_x, None, None


def rotate(x_THD: torch.Tensor, cos_TD: torch.Tensor, sin_TD: torch.Tensor) -> torch.Tensor:
    """X (T, H, D), every head turned by its token's angles."""
    apply: Callable[..., torch.Tensor] = _Rotate.apply  # torch leaves it untyped
    return apply(x_THD, cos_TD, sin_TD)
