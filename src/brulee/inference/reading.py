"""A forward pass in which a reader, not the model, computes attention.

The model gets tokens packed into one row, their positions and the reader; in every layer, the
reader gets the queries and the new keys and values, and stores what it needs of them.

Shapes: `T` tokens of the pass, `H` query heads, `K` key heads, `D` head width, `P` positions of a
trained prefix, `N` positions asked for, `V` vocabulary.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Protocol

import torch
from transformers import AttentionInterface, PreTrainedModel

from brulee.inference.same_bits import SameBits
from brulee.models.attention import attention_by
from brulee.models.kept_logits import logits_at

NAME = "brulee_reading"

Pair = tuple[torch.Tensor, torch.Tensor]


class Reader(Protocol):
    """Computes the attention of every layer."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        new: Pair,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        """Query (1, H, T, D), new keys and values (1, K, P + T, D); returns (1, T, H, D)."""


def read(
    model: PreTrainedModel,
    ids_T: torch.Tensor,
    positions_T: torch.Tensor,
    reader: Reader,
    rows_N: torch.Tensor,
) -> torch.Tensor:
    """Logits (N, V) after the tokens at `rows_N`, with attention as `reader` computes it."""
    on_cpu = ids_T.device.type == "cpu"
    with attention_by(NAME, model), SameBits() if on_cpu else nullcontext():
        inputs = {"input_ids": ids_T[None], "position_ids": positions_T[None]}
        return logits_at(model, rows_N, **inputs, reader=reader)


def reading_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    reader: Reader | None = None,
    **options: object,
) -> tuple[torch.Tensor, None]:
    """Attention computed by the pass's reader, `reader.attend`.

    Raises ValueError for what no reader computes exactly: logit soft-capping, attention sinks,
    position biases, dense masks, dropout.
    """
    unsupported = [n for n in ("softcap", "s_aux", "position_bias") if options.get(n) is not None]
    if unsupported or attention_mask is not None or reader is None or dropout:
        what = ", ".join(unsupported) or "a dense mask, dropout or an attention without a reader"
        raise ValueError(f"reading a stream does not compute {what}")
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    # Readers call no function that SameBits overrides, and its dispatch would slow down their many
    # small tensor operations.
    with torch._C.DisableTorchFunction():
        return reader.attend(layer, query, (key, value), scaling, sliding_window), None


AttentionInterface.register(NAME, reading_attention)
