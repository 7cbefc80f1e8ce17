"""Rotary positions, turned in three operations or one loop (kernels), and turned back likewise.

    y_1 = x_1 cos_1 - x_2 sin_1        y_2 = x_2 cos_2 + x_1 sin_2        x = [x_1 | x_2]

Su et al. 2021, "RoFormer", in transformers' layout: a head's first half turns with its second.
There may be angles for the first values of a head alone; the others stay as they are (Phi 3). Where
neighbours turn with each other instead (RoFormer's own layout; GLM, Ernie), a head's even values
are first put before its odd ones and stay there: scores are the same whatever order queries and
keys have in common.

Shapes: `T` tokens, `H` heads, `D` head width, `R` how many values of it are turned.
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


def rotate(
    x_THD: torch.Tensor, cos_TR: torch.Tensor, sin_TR: torch.Tensor, neighbours: bool = False
) -> torch.Tensor:
    """X (T, H, D), the first R values of every head turned by its token's angles.

    With `neighbours` the result has the order of `even_first`.
    """
    apply: Callable[..., torch.Tensor] = _Rotate.apply  # torch leaves it untyped
    x_THD, turned = even_first(x_THD, cos_TR.shape[1]) if neighbours else x_THD, cos_TR.shape[1]
    if turned == x_THD.shape[2]:
        return apply(x_THD, cos_TR, sin_TR)
    return torch.cat([apply(x_THD[..., :turned], cos_TR, sin_TR), x_THD[..., turned:]], dim=2)


def even_first(x_THD: torch.Tensor, turned: int) -> torch.Tensor:
    """Of the first `turned` values of every head the even ones before the odd ones."""
    first, rest = x_THD[..., :turned], x_THD[..., turned:]
    return torch.cat([first[..., ::2], first[..., 1::2], rest], dim=2)
