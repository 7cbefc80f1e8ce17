"""What an encoder-decoder drops in training, said to the modules of both sides."""

from __future__ import annotations

from typing import Any

import torch

# What T5's attention, and a layer and an attention of BART's family, hold their shares as.
_SHARES = ("dropout", "activation_dropout")
_KEYS = ("dropout_rate", "dropout", "attention_dropout", "activation_dropout")


def drop_share(model: Any, share: float) -> None:
    """Have a model drop this share wherever it drops any, as its configuration would."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
        for name in _SHARES:
            if isinstance(getattr(module, name, None), int | float):
                setattr(module, name, share)
    for key in _KEYS:
        if hasattr(model.config, key):
            setattr(model.config, key, share)
