"""What a model's forward calls its key-value cache: transformers renamed it in 5.24."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

OLD, NEW = "past_key_values", "cache"


def cache_name(model: nn.Module) -> str:
    """The keyword under which `model` takes its cache, and under which its output holds it."""
    return NEW if NEW in inspect.signature(model.forward).parameters else OLD


def cache_of(output: Any) -> Any:
    """The cache that a model's output holds; None where it has none (RWKV, RecurrentGemma)."""
    found = getattr(output, NEW, None)
    return getattr(output, OLD, None) if found is None else found
