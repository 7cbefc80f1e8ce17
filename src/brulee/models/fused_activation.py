"""An activation without a gate, which is not kept where it can be computed again.

Some modules write gelu's approximation by a hyperbolic tangent (Hendrycks and Gimpel 2016) as a
formula of eight operations, each of which autograd keeps what it needs for; torch has it in one.

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
    """What an activation gives, and how that is computed once more, without a gradient.

    `curve` is what fused_swiglu.py calls it, "" for a module that has to be called. Nothing is to
    be computed again where the activation keeps what it gives.
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
