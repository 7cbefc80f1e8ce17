"""The gated activation of an MLP, silu(gate) * up, with a backward that keeps the inputs only.

Shazeer 2020, "GLU Variants Improve Transformer".

Shapes: `T` tokens, `F` the MLP's inner width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from brulee.models.kernels import kernel


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_TF: torch.Tensor, up_TF: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate_TF, up_TF)
        return _gated(gate_TF, up_TF)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate_TF, up_TF = ctx.saved_tensors
        d_y = grads[0]
        run = kernel("swiglu_backward", gate_TF)
        if run is None:
            d_up = F.silu(gate_TF).mul_(d_y)
            return torch.ops.aten.silu_backward(d_y * up_TF, gate_TF), d_up
        d_y = d_y.contiguous()
        d_gate, d_up = torch.empty_like(gate_TF), torch.empty_like(up_TF)
        run(gate_TF, up_TF, d_y, d_gate, d_up, d_y.numel())
        return d_gate, d_up


def _gated(gate_TF: torch.Tensor, up_TF: torch.Tensor) -> torch.Tensor:
    run = kernel("swiglu_forward", gate_TF)
    if run is None:
        return F.silu(gate_TF).mul_(up_TF)
    y_TF = torch.empty_like(gate_TF)
    run(gate_TF, up_TF, y_TF, y_TF.numel())
    return y_TF


def swiglu(gate_TF: torch.Tensor, up_TF: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up, (T, F)."""
    apply: Callable[..., torch.Tensor] = _SwiGLU.apply  # torch leaves it untyped
    return apply(gate_TF.contiguous(), up_TF.contiguous())


def swiglu_again(gate_TF: torch.Tensor, up_TF: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Computes the same once more, without a gradient, when it is called."""
    gate_TF, up_TF = gate_TF.detach().contiguous(), up_TF.detach().contiguous()
    return lambda: _gated(gate_TF, up_TF)
