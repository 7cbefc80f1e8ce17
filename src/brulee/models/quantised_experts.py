"""Experts in four bits, each matrix separately, and unpacked when tokens are routed to it.

bitsandbytes and transformers quantise linear layers but not experts, which are most of the weights
of a model that has them. Here every expert's matrix is quantised as a linear layer's is
(quantising.py), so that a pass unpacks only the experts that it uses.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.models.expert_products import computes_as_known, experts_with
from brulee.models.experts import HELD, expert_modules, stacks_of
from brulee.models.quantising import unpacked


class QuantisedExperts(nn.Module):
    """Replaces a module of experts; `own` keeps the rest of it, biases and activation.

    Moves the matrices out of the experts one by one, so that not all exist twice at once.
    """

    def __init__(self, own: nn.Module, kind: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        setattr(self, HELD, stacks_of(own))
        self.packed = nn.ModuleDict()
        for stack in stacks_of(own):
            weight = own._parameters.pop(stack.name)
            assert weight is not None, "it is a stack"
            self.packed[stack.name] = nn.ParameterList(_pack(each, kind) for each in weight.data)
        self.own = own
        self.train(own.training)

    def __getattr__(self, name: str) -> Any:
        """Attributes of the original experts: their number, and flags for how they compute."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("own"), name)

    def matrix(self, name: str, expert: int) -> torch.Tensor:
        """An expert's matrix in its original layout, with values rounded to four bits."""
        packed: Any = self.packed[name]
        return unpacked(packed[expert], self.dtype)

    def forward(
        self, x_TD: torch.Tensor, index_TK: torch.Tensor, weights_TK: torch.Tensor
    ) -> torch.Tensor:
        """The experts' weighted outputs (T, D)."""
        return experts_with(self, x_TD, index_TK, weights_TK, None, None)


def quantise_experts(model: PreTrainedModel, kind: str, dtype: torch.dtype, name: str) -> None:
    """Quantise all experts of a model to four bits, with products in `dtype`.

    Raises InputError, with the model's `name`, for experts that compute in a non-standard way.
    """
    found = expert_modules(model)
    for path, module in found.items():
        if not computes_as_known(module):
            raise InputError(
                f"{name}: model.quantise: {path} ({type(module).__name__}) computes its experts "
                "in its own way, so they cannot be held in four bits; leave model.quantise out."
            )
    for path, module in found.items():
        _put(model, path, QuantisedExperts(module, kind, dtype))


def restore_experts(model: PreTrainedModel) -> None:
    """Replace quantised experts by the original modules, with dequantised values in fp32."""
    found = {n: m for n, m in model.named_modules() if isinstance(m, QuantisedExperts)}
    for path, module in found.items():
        for stack in stacks_of(module):
            each = [module.matrix(stack.name, at).float() for at in range(stack.experts)]
            module.own.register_parameter(stack.name, nn.Parameter(torch.stack(each)))
        _put(model, path, module.own)


def _put(model: PreTrainedModel, path: str, module: nn.Module) -> None:
    above, _, leaf = path.rpartition(".")
    setattr(model.get_submodule(above), leaf, module)


def _pack(matrix: torch.Tensor, kind: str) -> nn.Parameter:
    from bitsandbytes.nn import Params4bit

    packed: nn.Parameter = Params4bit(
        matrix.clone(),
        requires_grad=False,
        quant_type=kind,
        compress_statistics=True,
    ).to(matrix.device)
    return packed
