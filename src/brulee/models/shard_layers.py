"""Which modules of a model are gathered one after another if its weights are sharded."""

from __future__ import annotations

from collections import Counter

from torch import nn
from transformers import PreTrainedModel


def shard_layers(model: PreTrainedModel) -> list[nn.Module]:
    """The layers that transformers would not split, in the model's order.

    Without those that share parameters with what is not in them, another one (Zamba 2) or the head
    (the embeddings of BERT): these are outside of layers.
    """
    names = set(model._no_split_modules or ())
    layers = [module for module in model.modules() if type(module).__name__ in names]
    holders = Counter(parameter for layer in layers for parameter in layer.parameters())
    uses = _uses(model)
    return [
        layer
        for layer in layers
        if all(holders[p] == 1 and uses[p] == own for p, own in _uses(layer).items())
    ]


def _uses(module: nn.Module) -> Counter[nn.Parameter]:
    """In how many places of a module each of its parameters is."""
    return Counter(p for _, p in module.named_parameters(remove_duplicate=False))
