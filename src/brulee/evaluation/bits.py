"""Bits per byte: how well a model predicts a text, independently of its tokenizer.

Cross-entropy of the text's tokens in bits, divided by its UTF-8 bytes (Gao et al. 2020,
arXiv:2101.00027, section 3.1). A first token without any context is not predicted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import numpy as np

from brulee.errors import InputError
from brulee.evaluation.base import Array, Asks, Metric


@final
class BitsPerByte(Metric):
    """Total bits over total bytes of texts without a prompt."""

    keys = ("bits_per_byte",)
    summary = "for plain text: bits of surprise per byte; lower is better"
    asks: Asks = "likelihood"

    def of(self, text: str, log_probability: float) -> list[float]:
        """The bits and bytes of a text with this natural log-probability."""
        return [-log_probability / math.log(2), float(len(text.encode()))]

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """Raises InputError: the score needs a model's likelihoods, not texts."""
        del prediction, references
        raise InputError(f"{self.keys[0]} asks a model how likely a text is.")

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """Mean bits over mean bytes: (..., 2) -> (...)."""
        del key, items
        mean = np.asarray(mean_S, dtype=np.float64)
        return np.asarray(mean[..., 0] / mean[..., 1])

    def higher_is_better(self, key: str) -> bool:
        """Fewer bits are better."""
        del key
        return False
