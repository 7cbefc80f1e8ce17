"""Biases on tokens: what a request adds to their logits before each token is chosen.

Shapes: `K` biased tokens, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self, final

import torch

from brulee.inference.on_device import on_device

MOST: Final = 100.0  # of a bias, up or down: beyond it OpenAI's API takes none


@final
class Biases:
    """Biases as tensors, which are made once for an answer."""

    def __init__(self, biases: Sequence[tuple[int, float]]) -> None:
        self._ids_K = torch.tensor([token for token, _ in biases])
        self._values_K = torch.tensor([value for _, value in biases], dtype=torch.float32)

    @classmethod
    def of(cls, biases: Sequence[tuple[int, float]]) -> Self | None:
        """The biases, None if there are none."""
        return cls(biases) if biases else None

    def add_to(self, logits_V: torch.Tensor) -> None:
        """Add every bias to its token's logit, in place.

        Some models read more tokens than they write: a bias on one that is not written is nothing.
        """
        written_K = self._ids_K < len(logits_V)
        own = (self._ids_K[written_K], self._values_K[written_K])
        at, values = (on_device(x, logits_V.device) for x in own)
        logits_V[at] += values
