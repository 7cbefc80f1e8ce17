"""The gated activation of an MLP, silu(gate) * up, saving only its inputs for the backward pass.

Or gelu(gate) * up, with gelu's tanh approximation (Hendrycks and Gimpel 2016), or relu(gate)^2 * up
(So et al. 2021, "Primer"). Shazeer 2020, "GLU Variants Improve Transformer".

Shapes: `T` tokens, `F` the MLP's inner width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from brulee.models.kernels import kernel

_LOOPS = {"silu": "swiglu", "gelu": "geglu"}  # the names of loops in C
_CURVES = (*_LOOPS, "relu2")


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_TF: torch.Tensor, up_TF: torch.Tensor, by: str) -> torch.Tensor:
        ctx.save_for_backward(gate_TF, up_TF)
        ctx.by = by
        return _gated(gate_TF, up_TF, by)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gate_TF, up_TF = ctx.saved_tensors
        d_y = grads[0]
        run = kernel(f"{_LOOPS[ctx.by]}_backward", gate_TF) if ctx.by in _LOOPS else None
        if run is None:
            d_up = _activated(gate_TF, ctx.by).mul_(d_y)
            return _through_activation(d_y * up_TF, gate_TF, ctx.by), d_up, None
        d_y = d_y.contiguous()
        d_gate, d_up = torch.empty_like(gate_TF), torch.empty_like(up_TF)
        run(gate_TF, up_TF, d_y, d_gate, d_up, d_y.numel())
        return d_gate, d_up, None


def _gated(gate_TF: torch.Tensor, up_TF: torch.Tensor, by: str) -> torch.Tensor:
    run = kernel(f"{_LOOPS[by]}_forward", gate_TF) if by in _LOOPS else None
    if run is None:
        return _activated(gate_TF, by).mul_(up_TF)
    y_TF = torch.empty_like(gate_TF)
    run(gate_TF, up_TF, y_TF, y_TF.numel())
    return y_TF


def _activated(gate_TF: torch.Tensor, by: str) -> torch.Tensor:
    if by == "relu2":
        return F.relu(gate_TF).square_()
    return F.silu(gate_TF) if by == "silu" else F.gelu(gate_TF, approximate="tanh")


def _through_activation(d_y: torch.Tensor, gate_TF: torch.Tensor, by: str) -> torch.Tensor:
    own: torch.Tensor
    if by == "relu2":
        return d_y.mul_(F.relu(gate_TF)).mul_(2)
    if by == "silu":
        own = torch.ops.aten.silu_backward(d_y, gate_TF)
    else:
        own = torch.ops.aten.gelu_backward(d_y, gate_TF, approximate="tanh")
    return own


def activation_of(module: nn.Module) -> str | None:
    """`silu`, `gelu` or `relu2` if the module computes that, else None."""
    at = torch.linspace(-4, 4, 9)
    if list(module.parameters()):
        return None
    # Up to rounding: the tanh form of gelu is written in several ways; the exact gelu is 1e-4 off.
    close = (by for by in _CURVES if torch.allclose(module(at), _activated(at, by), atol=1e-6))
    return next(close, None)


def gated(gate_TF: torch.Tensor, up_TF: torch.Tensor, by: str = "silu") -> torch.Tensor:
    """silu(gate) * up, or that of another activation of `activation_of`, (T, F)."""
    apply: Callable[..., torch.Tensor] = _Gated.apply  # torch leaves it untyped
    return apply(gate_TF.contiguous(), up_TF.contiguous(), by)


def gated_again(
    gate_TF: torch.Tensor, up_TF: torch.Tensor, by: str = "silu"
) -> Callable[[], torch.Tensor]:
    """A function that recomputes `gated` without a gradient."""
    gate_TF, up_TF = gate_TF.detach().contiguous(), up_TF.detach().contiguous()
    return lambda: _gated(gate_TF, up_TF, by)
