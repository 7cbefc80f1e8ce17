"""An activation without a gate, recomputed in the backward pass where that saves memory.

Some modules write gelu's tanh approximation (Hendrycks and Gimpel 2016) as a formula of eight
operations, and autograd saves the inputs of each; torch has it as one operation.

Shapes: `T` tokens, `F` the MLP's inner width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

Again = Callable[[], torch.Tensor]


def activated(act: Any, x_TF: torch.Tensor, curve: str = "") -> tuple[torch.Tensor, Again | None]:
    """The output of an activation, and a function that recomputes it without a gradient.

    `curve` is its name in fused_swiglu.py, "" if the module has to be called. There is no function
    for ReLU, since autograd saves its output anyway.
    """
    if isinstance(act, nn.ReLU):
        return act(x_TF), None
    plain_TF = x_TF.detach()

    def again() -> torch.Tensor:
        with torch.no_grad():
            return _by(act, plain_TF, curve)

    return _by(act, x_TF, curve), again


def _by(act: Any, x_TF: torch.Tensor, curve: str) -> torch.Tensor:
    if curve == "gelu":
        return F.gelu(x_TF, approximate="tanh")
    found: torch.Tensor = F.silu(x_TF) if curve == "silu" else act(x_TF)
    return found
