"""The name of the key-value cache in a model's forward: transformers renamed it in 5.24."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn
from transformers.cache_utils import Cache

OLD, NEW = "past_key_values", "cache"


def cache_name(model: nn.Module) -> str:
    """The keyword for the cache in the model's forward, also its attribute in the output."""
    return NEW if NEW in inspect.signature(model.forward).parameters else OLD


def cache_of(output: Any) -> Any:
    """The cache in a model's output; None if there is none (RWKV, RecurrentGemma).

    An architecture's own cache class counts as none: batch rows cannot be selected from it (xLSTM),
    or the selection misses some of its states (MiniMax).
    """
    found = getattr(output, NEW, None)
    found = getattr(output, OLD, None) if found is None else found
    return found if type(found).__module__ == Cache.__module__ else None
