"""Rotary positions, turned in three operations or one loop (kernels), and turned back likewise.

    y_1 = x_1 cos_1 - x_2 sin_1        y_2 = x_2 cos_2 + x_1 sin_2        x = [x_1 | x_2]

Su et al. 2021, "RoFormer", in transformers' layout: a head's first half turns with its second.

Shapes: `T` tokens, `H` heads, `D` head width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from brulee.models.kernels import kernel


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_THD: torch.Tensor, cos_TD: torch.Tensor, sin_TD: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(cos_TD, sin_TD)
        return _turned(x_THD, cos_TD, sin_TD, 1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        cos_TD, sin_TD = ctx.saved_tensors
        return _turned(grads[0], cos_TD, sin_TD, -1), None, None


def _turned(
    x_THD: torch.Tensor, cos_TD: torch.Tensor, sin_TD: torch.Tensor, turn: int
) -> torch.Tensor:
    """Forward (1), or back (-1), where each half takes the angles of the half it came from."""
    run = kernel("rotate", x_THD) if cos_TD.dtype == x_THD.dtype else None
    half = x_THD.shape[-1] // 2
    if run is not None:
        x_THD = x_THD.contiguous()
        y_THD = torch.empty_like(x_THD)  # of x as it was given, it would be laid out like that
        run(x_THD, cos_TD.contiguous(), sin_TD.contiguous(), y_THD, *x_THD.shape, turn)
        return y_THD
    cos_T1D, sin_T1D = cos_TD[:, None], sin_TD[:, None]
    first, second = sin_T1D[..., :half], sin_T1D[..., half:]
    if turn < 0:
        first, second = second, first
    y_THD = x_THD * cos_T1D
    y_THD[..., :half].addcmul_(x_THD[..., half:], first, value=-turn)
    y_THD[..., half:].addcmul_(x_THD[..., :half], second, value=turn)
    return y_THD


def rotate(x_THD: torch.Tensor, cos_TD: torch.Tensor, sin_TD: torch.Tensor) -> torch.Tensor:
    """X (T, H, D), every head turned by its token's angles."""
    apply: Callable[..., torch.Tensor] = _Rotate.apply  # torch leaves it untyped
    return apply(x_THD, cos_TD, sin_TD)
