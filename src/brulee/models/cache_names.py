"""What a model's forward calls its key-value cache: transformers renamed it in 5.24."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn
from transformers.cache_utils import Cache

OLD, NEW = "past_key_values", "cache"


def cache_name(model: nn.Module) -> str:
    """The keyword under which `model` takes its cache, and under which its output holds it."""
    return NEW if NEW in inspect.signature(model.forward).parameters else OLD


def cache_of(output: Any) -> Any:
    """The cache that a model's output holds; None where it has none (RWKV, RecurrentGemma).

    One of a class of the architecture's own is as good as none: rows cannot be chosen from it
    (xLSTM), or are where only some of its states follow (MiniMax).
    """
    found = getattr(output, NEW, None)
    found = getattr(output, OLD, None) if found is None else found
    return found if type(found).__module__ == Cache.__module__ else None
