"""Copies of trained weights in the dtype of matrix products, converted once a step.

Trained weights are kept in fp32, but multiplied in bf16 on machines where that is fast. Autocast
converts them in every pass; here they are converted at first use and by `renew`, which has to be
called after they change.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from brulee.models.hooks import Refreshes
from brulee.models.linear_parts import LinearParts
from brulee.models.quantising import in_four_bits


class Held:
    """Copies of tensors in `dtype`, as of the last `renew` or their first use.

    `refreshers` write trained values to where modules read them; `renew` calls them.
    """

    def __init__(self, dtype: torch.dtype, refreshers: Sequence[Refreshes] = ()) -> None:
        self.dtype, self._refreshers = dtype, refreshers
        self._copies: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # original and copy, by id

    def within(self, dtype: torch.dtype) -> Held:
        """Copies of the same values in another dtype; self if it is the same dtype."""
        return self if dtype == self.dtype else Held(dtype, self._refreshers)

    @property
    def refreshes(self) -> bool:
        """Whether there are refreshers."""
        return bool(self._refreshers)

    def renew(self) -> None:
        """Update all copies, because trained values may have changed."""
        for each in self._refreshers:
            each.refresh()
        self._copy()

    @torch.no_grad()
    def _copy(self) -> None:
        """Copy all originals again, in few launches on a GPU."""
        if self._copies:
            originals, copies = zip(*self._copies.values(), strict=True)
            torch._foreach_copy_(list(copies), list(originals))

    def of(self, parts: LinearParts) -> LinearParts:
        """The same parts in `dtype`, detached."""
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
        """The copy of a tensor, or the tensor itself if it is quantised or already in `dtype`."""
        known = self._copies.get(id(original))
        if known is not None:
            return known[1]
        if in_four_bits(original) or not original.is_floating_point():
            return original
        if original.dtype == self.dtype:
            return original.detach()
        copy = original.detach().to(self.dtype)
        # Keep a reference to the original, so that no other tensor can get its id.
        self._copies[id(original)] = (original, copy)
        return copy


def format_of(hidden: torch.Tensor) -> torch.dtype:
    """The dtype of the products: autocast's if it is on, else that of the hidden states."""
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
