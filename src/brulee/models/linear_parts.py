"""The parameters of a linear module, so that several modules can be computed together.

    y = x W^T + bias + scale * (x A^T) B^T        A and B only with a low-rank correction

In training, dropout may be applied to the second x.

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
    """Weight (O, I) and bias (O) of a linear layer, and A (R, I) and B (O, R) of its correction.

    The weight may be in four bits, or `turned`, transposed to (I, O); `matrix` gives its values.
    `dropout` is the current dropout probability of x before A, 0 outside training.
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
        """The weight, or None if it is in four bits and cannot have a gradient."""
        return None if in_four_bits(self.weight) else self.weight

    def matrix(self, dtype: torch.dtype) -> torch.Tensor:
        """W (O, I); a four-bit weight is unpacked into `dtype` at every call."""
        if in_four_bits(self.weight):
            return unpacked(self.weight, dtype)
        return self.weight.T if self.turned else self.weight


class Separable(Protocol):
    """A module that can describe what it computes as `LinearParts`."""

    def linear_parts(self) -> LinearParts | None:
        """The parts; None if the module now computes anything else (another decomposition)."""


def parts_of(module: nn.Module) -> LinearParts | None:
    """The parts of a plain linear layer or a `Separable` module; None for anything else."""
    if type(module) is nn.Linear or (isinstance(module, nn.Linear) and in_four_bits(module.weight)):
        return LinearParts(module.weight, module.bias)
    if type(module) is Conv1D:
        own: Any = module
        return LinearParts(own.weight, own.bias, turned=True)
    # Look on the class: a lookup on the instance goes through nn.Module and Protocol and is slow.
    if hasattr(type(module), "linear_parts"):
        return cast("Separable", module).linear_parts()
    return None
