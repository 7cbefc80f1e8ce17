"""Noise on the model's embeddings during training.

Jain et al. 2023, "NEFTune: Noisy Embeddings Improve Instruction Finetuning" (arXiv 2310.05914):
adds to each value of a document's embeddings a number drawn uniformly between -m and m with m =
alpha / sqrt(L D), for a document of L tokens. As in the paper, L is the document's length, not that
of the pack or of the padded row.

Shapes: `B` rows, `T` tokens of a row, `D` width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from brulee.data.batching import Batch
from brulee.errors import InputError


def check_noise(model: PreTrainedModel, alpha: float | None) -> None:
    """Raise InputError for an encoder-decoder model."""
    if alpha is not None and model.config.is_encoder_decoder:
        raise InputError(
            "train.neftune_alpha: not for encoder-decoder models, whose documents are read by two "
            "stacks; leave it out."
        )


class Noise:
    """NEFTune's noise with `alpha`, drawn from torch's global generator."""

    def __init__(self, model: PreTrainedModel, alpha: float) -> None:
        check_noise(model, alpha)
        self._model, self._alpha = model, alpha

    @contextmanager
    def on(self, batch: Batch) -> Iterator[None]:
        """Add noise to the embeddings of this batch, whose documents must not share tokens."""

        def add(_module: Any, _given: Any, embedded_BTD: torch.Tensor) -> torch.Tensor:
            limits = self._limits(batch, embedded_BTD)
            return embedded_BTD + torch.empty_like(embedded_BTD).uniform_(-1, 1) * limits

        handle = self._model.get_input_embeddings().register_forward_hook(add)
        try:
            yield
        finally:
            handle.remove()

    def _limits(self, batch: Batch, embedded_BTD: torch.Tensor) -> torch.Tensor:
        """The noise limit of each token: (1, T, 1) for a pack, (B, 1, 1) for rows."""
        width = embedded_BTD.shape[-1]
        each = torch.tensor([self._alpha / math.sqrt(n * width) for n in batch.lengths])
        if batch.packed:
            each = each.repeat_interleave(torch.tensor(batch.lengths))
        shape = (1, -1, 1) if batch.packed else (-1, 1, 1)
        # Without waiting for passes before this one.
        return each.view(shape).to(embedded_BTD.device, embedded_BTD.dtype, non_blocking=True)
