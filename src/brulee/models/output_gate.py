"""A gate on the output of attention: each value, or each head, times a function of its own input.

    y = attention(x) * f(gate(x))            f sigmoid, or softplus

Qiu et al. 2025, "Gated Attention for Large Language Models". The gate is half of what the map of
the queries gives (Qwen 3.5), or a map of its own (Afmoe, Laguna). Saves its two inputs for the
backward pass.

Shapes: `Q` queries, `H` heads, `W` head width; `G` is W, or 1 for a gate of each head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

# What opens a gate.
CURVES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
}


class _GatedOutput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mixed_QHW: torch.Tensor, gate_QHG: torch.Tensor, by: str) -> torch.Tensor:
        ctx.save_for_backward(mixed_QHW, gate_QHG)
        ctx.by = by
        return mixed_QHW * CURVES[by](gate_QHG)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        mixed_QHW, gate_QHG = ctx.saved_tensors
        d_y = grads[0]
        open_QHG = torch.sigmoid(gate_QHG)
        d_curve = d_y * mixed_QHW
        if gate_QHG.shape != d_curve.shape:
            d_curve = d_curve.sum(-1, keepdim=True)
        if ctx.by == "sigmoid":
            d_gate = torch.ops.aten.sigmoid_backward(d_curve, open_QHG)
            return d_y * open_QHG, d_gate, None
        return d_y * CURVES[ctx.by](gate_QHG), d_curve * open_QHG, None


def gated_output(mixed_QHW: torch.Tensor, gate_QHG: torch.Tensor, by: str) -> torch.Tensor:
    """The output of attention times its gates, (Q, H, W)."""
    apply: Callable[..., torch.Tensor] = _GatedOutput.apply  # torch leaves it untyped
    return apply(mixed_QHW, gate_QHG, by)


def gated_output_again(
    mixed_QHW: torch.Tensor, gate_QHG: torch.Tensor, by: str
) -> Callable[[], torch.Tensor]:
    """A function that recomputes `gated_output` without a gradient, with heads concatenated."""
    mixed_QHW, gate_QHG = mixed_QHW.detach(), gate_QHG.detach()
    return lambda: (mixed_QHW * CURVES[by](gate_QHG)).flatten(1)
