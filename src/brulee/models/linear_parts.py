"""What a linear module computes, taken apart, so that several can be computed together.

    y = x W^T + bias + scale * (x A^T) B^T        A and B only with a low-rank correction

of which the second x may be dropped out of, in training.

Shapes: `I` inputs, `O` outputs, `R` rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from brulee.models.quantising import in_four_bits, unpacked


@dataclass(frozen=True)
class LinearParts:
    """A linear map's weight (O, I), bias (O), and the A (R, I) and B (O, R) of its correction.

    The weight may be held in four bits, or `turned`, (I, O); `matrix` has its values. `dropout` is
    the share of x that is dropped before A just now.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None = None
    a: torch.Tensor | None = None
    b: torch.Tensor | None = None
    scale: float = 1.0
    dropout: float = 0.0
    turned: bool = False

    @property
    def trainable_weight(self) -> torch.Tensor | None:
        """The weight where it can have a gradient: not in four bits."""
        return None if in_four_bits(self.weight) else self.weight

    def matrix(self, dtype: torch.dtype) -> torch.Tensor:
        """W (O, I); one in four bits is unpacked anew at every call, into `dtype`."""
        if in_four_bits(self.weight):
            return unpacked(self.weight, dtype)
        return self.weight.T if self.turned else self.weight


class Separable(Protocol):
    """A module that can say what it computes as parts, or that just now it cannot."""

    def linear_parts(self) -> LinearParts | None:
        """None where the module computes anything else (another decomposition)."""


def parts_of(module: nn.Module) -> LinearParts | None:
    """The parts of a plain linear map or of one that can take itself apart, else None."""
    if type(module) is nn.Linear or (isinstance(module, nn.Linear) and in_four_bits(module.weight)):
        return LinearParts(module.weight, module.bias)
    if type(module) is Conv1D:
        own: Any = module
        return LinearParts(own.weight, own.bias, turned=True)
    # By its class: asked of the module itself, Protocol and Module look in five places.
    if hasattr(type(module), "linear_parts"):
        return cast("Separable", module).linear_parts()
    return None
