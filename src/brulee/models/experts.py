"""A model's experts and routers, found by structure and not by the model's name.

An expert is one of many feed-forward networks of a layer, and a router sends every token through a
few of them. transformers stacks the experts' matrices of one kind in a single three-dimensional
parameter, and a router is a module with a row of weights per expert; neither is an nn.Linear.

Shapes: `E` experts, `O` outputs, `I` inputs of a matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

HELD = "held_stacks"  # attribute of a module that stores its experts' matrices in another way
ROUTERS = ("gate", "router")  # names of the router in a module that has experts
# The names in configurations of the number of experts per token.
_USED = ("num_experts_per_tok", "moe_k", "moe_topk", "num_experts_per_token", "top_k_experts")


@dataclass(frozen=True)
class Stack:
    """One stacked parameter: per expert a matrix (O, I), or (I, O) if `transposed`."""

    name: str
    experts: int
    outputs: int
    inputs: int
    transposed: bool


def stacks_of(module: nn.Module) -> list[Stack]:
    """The parameters of a module that stack a matrix per expert, in the module's order."""
    held = vars(module).get(HELD)
    if held is not None:
        return list(held)
    count = getattr(module, "num_experts", None)
    turned = bool(getattr(module, "is_transposed", False))
    found = []
    for name, parameter in module._parameters.items():
        if parameter is None or parameter.ndim != 3 or parameter.shape[0] != count:
            continue
        _, rows, columns = parameter.shape
        sides = (columns, rows) if turned else (rows, columns)
        found.append(Stack(name, int(parameter.shape[0]), *sides, turned))
    return found


def expert_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Every module whose own parameters are experts' matrices, by its path."""
    return {name: module for name, module in model.named_modules() if stacks_of(module)}


def is_of_experts(model: PreTrainedModel) -> bool:
    """Whether the model has experts, or is of a type that may have them."""
    config = model.config.get_text_config()
    return bool(expert_modules(model)) or any(getattr(config, key, None) for key in _USED)


def router_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Every module that has a router's weight, by its path; it may be an nn.Linear."""
    return {name: module for path in expert_modules(model) for name, module in _beside(model, path)}


def _beside(model: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    above, _, own = path.rpartition(".")
    parent, experts = model.get_submodule(above), model.get_submodule(path)
    for name, child in parent.named_children():
        if name == own or name not in ROUTERS:
            continue
        for inner, module in child.named_modules(prefix=f"{above}.{name}" if above else name):
            if _outputs(module) == experts.num_experts:
                yield inner, module


def _outputs(module: nn.Module) -> int | None:
    """Outputs of a module with a two-dimensional weight; a quantised weight's shape differs."""
    if isinstance(module, nn.Linear):
        return module.out_features
    weight = module._parameters.get("weight")
    return len(weight) if weight is not None and weight.ndim == 2 else None


@dataclass(frozen=True)
class Experts:
    """A model's experts: `each` in a layer, of which `used` process a token.

    `values` is their total number of weights, `inner` the input width of their last matrix.
    """

    values: int
    each: int
    used: int
    inner: int
    balance: float  # weight of the load-balancing loss in the model's own loss


def experts_in(model: Any) -> Experts | None:
    """A summary of a model's experts; None if it has none."""
    found = expert_modules(model)
    if not found:
        return None
    every = [stack for module in found.values() for stack in stacks_of(module)]
    values = sum(stack.experts * stack.outputs * stack.inputs for stack in every)
    config = model.config.get_text_config()
    used = next((int(n) for key in _USED if (n := getattr(config, key, None))), 1)
    each = max(stack.experts for stack in every)
    inner = max(stacks_of(module)[-1].inputs for module in found.values())
    balance = getattr(config, "router_aux_loss_coef", None) or 0.0
    return Experts(values, each, used, inner, float(balance))
