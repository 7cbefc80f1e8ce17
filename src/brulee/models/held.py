"""Trained values in the number format in which they are multiplied, converted once a step.

Weights that are trained are kept in fp32, and on machines with fast bf16 products used in bf16.
Autocast converts them anew in every pass; here they are converted when they are first used after
`renew`, which whoever changes them calls.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from brulee.models.laid_out import AsItLies, Weight, weight_for
from brulee.models.linear_parts import LinearParts

# Twice a small model's weights; a large one's stay mostly as they lie, as memory is scarcer then.
LAID_OUT_BYTES = 1 << 30


@dataclass(frozen=True)
class LinearMap:
    """A linear map ready to be computed: bias (O), A (R, I) and B (O, R) of its correction."""

    weight: Weight
    bias: torch.Tensor | None
    a: torch.Tensor | None
    b: torch.Tensor | None
    scale: float


class Held:
    """Copies of tensors in `dtype`, as they were at their first use since `renew`."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._copies: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # original and copy, by id
        self._fresh: set[int] = set()
        self._frozen: dict[int, tuple[torch.Tensor, Weight]] = {}  # as above
        self._room = LAID_OUT_BYTES

    def renew(self) -> None:
        """The originals may have changed."""
        self._fresh.clear()

    def of(self, parts: LinearParts) -> LinearMap:
        """The same parts in `dtype`, without a gradient."""
        return LinearMap(
            weight=self.weight(parts.weight),
            bias=None if parts.bias is None else self.tensor(parts.bias),
            a=None if parts.a is None else self.tensor(parts.a),
            b=None if parts.b is None else self.tensor(parts.b),
            scale=parts.scale,
        )

    def weight(self, original: torch.Tensor) -> Weight:
        """A matrix (O, I) in `dtype` to multiply with."""
        if original.requires_grad or original.dtype != self.dtype:
            return AsItLies(self.tensor(original))
        key = id(original)
        if key not in self._frozen:
            found = weight_for(original.detach(), frozen=self._room > 0)
            self._room -= 2 * original.nbytes
            self._frozen[key] = (original, found)
        return self._frozen[key][1]

    @torch.no_grad()
    def tensor(self, original: torch.Tensor) -> torch.Tensor:
        """The original itself where it already has the format, else its copy."""
        if original.dtype == self.dtype:
            return original.detach()
        key = id(original)  # kept beside the copy, so that no other tensor can take its place
        if key not in self._copies:
            self._copies[key] = (original, original.to(self.dtype))
        elif key not in self._fresh:
            self._copies[key][1].copy_(original)
        self._fresh.add(key)
        return self._copies[key][1]
