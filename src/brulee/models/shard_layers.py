"""Which modules of a model are gathered one after another if its weights are sharded."""

from __future__ import annotations

from collections import Counter

from torch import nn
from transformers import PreTrainedModel


def shard_layers(model: PreTrainedModel) -> list[nn.Module]:
    """The layers that transformers would not split, in the model's order.

    Without those that share parameters with another one (Zamba 2): these are outside of layers.
    """
    names = set(model._no_split_modules or ())
    layers = [module for module in model.modules() if type(module).__name__ in names]
    holders = Counter(parameter for layer in layers for parameter in layer.parameters())
    return [layer for layer in layers if all(holders[p] == 1 for p in layer.parameters())]
