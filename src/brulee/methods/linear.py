"""Linear layers as a model stores them: `nn.Linear`'s weight is (O, I), GPT-2's Conv1D's (I, O)."""

from __future__ import annotations

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from brulee.errors import InputError


def weight_of(module: nn.Module) -> torch.Tensor:
    """The weight of a linear layer or embedding, in its stored layout."""
    weight = module.weight
    assert isinstance(weight, torch.Tensor), "a linear map or an embedding has a weight"
    return weight


def bias_of(module: nn.Module) -> torch.Tensor | None:
    """The bias of a linear layer, or None."""
    bias = module.bias
    assert bias is None or isinstance(bias, torch.Tensor), "a bias is a tensor"
    return bias


def is_transposed(module: nn.Module) -> bool:
    """Whether the weight is stored as (I, O)."""
    return isinstance(module, Conv1D)


def sizes(module: nn.Module) -> tuple[int, int]:
    """Outputs and inputs; a quantised weight's shape does not tell them."""
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    inputs, outputs = weight_of(module).shape
    return outputs, inputs


def oriented(module: nn.Module) -> torch.Tensor:
    """The weight as (O, I), without a copy. Raises InputError if it is quantised."""
    weight = weight_of(module)
    if not weight.is_floating_point():
        raise InputError(
            "this base is quantised: dora, init: pissa and merging need the weights themselves."
        )
    return weight.T if is_transposed(module) else weight
