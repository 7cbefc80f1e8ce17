"""Trained values that no step gives a gradient: they stay as they began, which nobody meant.

A module may be used by its weight and never called (Mamba's `dt_proj`), so that what was put beside
it takes no part; an expert may never be chosen.
"""

from __future__ import annotations

from torch import nn

_NAMED = 4  # in a message


class Untouched:
    """The trained parameters of a model that have had no gradient yet."""

    def __init__(self, model: nn.Module) -> None:
        self._left = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._all = len(self._left)

    def look(self) -> None:
        """Take note of the gradients that there are now."""
        if self._left:  # in most trainings for one step
            self._left = {n: p for n, p in self._left.items() if p.grad is None}

    def told(self) -> str | None:
        """What is still without, once; None where nothing is."""
        if not self._left:
            return None
        names = ", ".join([*self._left][:_NAMED]) + (" ..." if len(self._left) > _NAMED else "")
        said = f"{len(self._left)} of {self._all} trained tensors had no gradient yet: {names}"
        self._left = {}
        return said
