"""Set the dropout of an encoder-decoder in the modules of both sides."""

from __future__ import annotations

from typing import Any

import torch

# The attributes for dropout in T5's attention, and in layers and attention of the BART family.
_SHARES = ("dropout", "activation_dropout")
_KEYS = ("dropout_rate", "dropout", "attention_dropout", "activation_dropout")


def drop_share(model: Any, share: float) -> None:
    """Set every dropout probability of a model and its configuration to `share`."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
        for name in _SHARES:
            if isinstance(getattr(module, name, None), int | float):
                setattr(module, name, share)
    for key in _KEYS:
        if hasattr(model.config, key):
            setattr(model.config, key, share)
