"""Trained parameters that never get a gradient and so never change, probably by mistake.

A model may use a module's weight without calling the module (Mamba's `dt_proj`), so that an adapter
on it has no effect; an expert may never be selected.
"""

from __future__ import annotations

from torch import nn

_NAMED = 4  # in a message


class Untouched:
    """The trained parameters of a model that have had no gradient yet."""

    def __init__(self, model: nn.Module) -> None:
        self._left = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._all = len(self._left)
        self._looked = False

    def look(self) -> None:
        """Check which parameters have a gradient now."""
        self._looked = True
        if self._left:  # usually empty after one step
            self._left = {n: p for n, p in self._left.items() if p.grad is None}

    def told(self) -> str | None:
        """A sentence about those still without a gradient, only once; None if there are none.

        Also before the first look.
        """
        if not (self._left and self._looked):
            return None
        names = ", ".join([*self._left][:_NAMED]) + (" ..." if len(self._left) > _NAMED else "")
        said = f"{len(self._left)} of {self._all} trained tensors had no gradient yet: {names}"
        self._left = {}
        return said
