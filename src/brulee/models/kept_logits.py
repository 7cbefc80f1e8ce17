"""Logits at chosen tokens only, from models that take `logits_to_keep` and from those that do not.

The text goes through the head at these tokens alone, where the model allows that. In transformers
5.24, the classes of Qwen 3 Omni and VideoLLaMA 3 take the argument and leave it unread.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel


def logits_at(model: PreTrainedModel, rows_N: torch.Tensor, **inputs: Any) -> torch.Tensor:
    """Logits (N, V) at ascending tokens of one row of inputs."""
    found = model(**inputs, use_cache=False, logits_to_keep=rows_N).logits[0]
    kept: torch.Tensor = found if len(found) == len(rows_N) else found[rows_N]
    return kept
