"""Trained values in the number format in which they are multiplied, converted once a step.

Weights that are trained are kept in fp32, and on machines with fast bf16 products used in bf16.
Autocast converts them anew in every pass; here they are converted when they are first used after
`renew`, which whoever changes them calls.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from brulee.models.hooks import Refreshes
from brulee.models.linear_parts import LinearParts
from brulee.models.quantising import in_four_bits


class Held:
    """Copies of tensors in `dtype`, as they were at the last `renew` or at their first use.

    `refreshers` write trained values to where they are read, before they are.
    """

    def __init__(self, dtype: torch.dtype, refreshers: Sequence[Refreshes] = ()) -> None:
        self.dtype, self._refreshers = dtype, refreshers
        self._copies: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # original and copy, by id

    def within(self, dtype: torch.dtype) -> Held:
        """The same values in that format; these themselves where it is theirs."""
        return self if dtype == self.dtype else Held(dtype, self._refreshers)

    @property
    def refreshes(self) -> bool:
        """Whether trained values are written somewhere before modules compute."""
        return bool(self._refreshers)

    def renew(self) -> None:
        """Trained values may have changed."""
        for each in self._refreshers:
            each.refresh()
        self._copy()

    @torch.no_grad()
    def _copy(self) -> None:
        """All of the originals in as few launches as a GPU needs."""
        if self._copies:
            originals, copies = zip(*self._copies.values(), strict=True)
            torch._foreach_copy_(list(copies), list(originals))

    def of(self, parts: LinearParts) -> LinearParts:
        """The same parts in `dtype`, without a gradient."""
        return LinearParts(
            self.tensor(parts.weight),
            None if parts.bias is None else self.tensor(parts.bias),
            None if parts.a is None else self.tensor(parts.a),
            None if parts.b is None else self.tensor(parts.b),
            parts.scale,
            parts.dropout,
            parts.turned,
        )

    def tensor(self, original: torch.Tensor) -> torch.Tensor:
        """The original itself where it already has the format or is quantised, else its copy."""
        known = self._copies.get(id(original))
        if known is not None:
            return known[1]
        if in_four_bits(original) or not original.is_floating_point():
            return original
        if original.dtype == self.dtype:
            return original.detach()
        copy = original.detach().to(self.dtype)
        # The original is kept beside it, so that no other tensor can take its place.
        self._copies[id(original)] = (original, copy)
        return copy
