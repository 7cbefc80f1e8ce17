"""Rotary position embeddings, forward and backward in three operations or one kernel.

    y_1 = x_1 cos_1 - x_2 sin_1        y_2 = x_2 cos_2 + x_1 sin_2        x = [x_1 | x_2]

Su et al. 2021, "RoFormer", in transformers' layout: value i of a head's first half is paired with
value i of the second. There may be angles for the first values of a head only; the others are left
unchanged (Phi 3). If adjacent values are paired instead (RoFormer's own layout; GLM, Ernie), a
head's even values are moved before its odd ones and stay there: scores do not depend on the order
of values, as long as queries and keys have the same.

Shapes: `T` tokens, `H` heads, `D` head width, `R` number of rotated values of a head.
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
    """Rotate forward (1) or back (-1); going back, each half takes the sines of the other half."""
    run = kernel("rotate", x_THD) if cos_TD.dtype == x_THD.dtype else None
    half = x_THD.shape[-1] // 2
    if run is not None:
        x_THD = x_THD.contiguous()
        y_THD = torch.empty_like(x_THD)  # after contiguous(): empty_like keeps strides
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


def rotate(
    x_THD: torch.Tensor, cos_TR: torch.Tensor, sin_TR: torch.Tensor, neighbours: bool = False
) -> torch.Tensor:
    """X (T, H, D) with the first R values of every head rotated by its token's angles.

    With `neighbours`, the result is in the order of `even_first`.
    """
    apply: Callable[..., torch.Tensor] = _Rotate.apply  # torch leaves it untyped
    x_THD, turned = even_first(x_THD, cos_TR.shape[1]) if neighbours else x_THD, cos_TR.shape[1]
    if turned == x_THD.shape[2]:
        return apply(x_THD, cos_TR, sin_TR)
    return torch.cat([apply(x_THD[..., :turned], cos_TR, sin_TR), x_THD[..., turned:]], dim=2)


def even_first(x_THD: torch.Tensor, turned: int) -> torch.Tensor:
    """Reorder the first `turned` values of every head: even ones before odd ones."""
    first, rest = x_THD[..., :turned], x_THD[..., turned:]
    return torch.cat([first[..., ::2], first[..., 1::2], rest], dim=2)
