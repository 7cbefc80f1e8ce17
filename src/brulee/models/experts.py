"""A model's experts and routers, found by structure and not by a model's name.

An expert is one of many feed-forward parts of a layer, of which a router sends every token through
a few. transformers holds the experts' matrices of one kind as a single parameter with three
dimensions, and a router as a module with one row of weights an expert; neither is a linear map.

Shapes: `E` experts, `O` outputs, `I` inputs of a matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

HELD = "held_stacks"  # what a module says that holds its experts' matrices in another way
ROUTERS = ("gate", "router")  # what a module that has experts calls the one beside them
# What configurations call the number of experts that a token goes through.
_USED = ("num_experts_per_tok", "moe_k", "moe_topk", "num_experts_per_token", "top_k_experts")


@dataclass(frozen=True)
class Stack:
    """One parameter of a module of experts: a matrix (O, I) each, or (I, O) if `transposed`."""

    name: str
    experts: int
    outputs: int
    inputs: int
    transposed: bool


def stacks_of(module: nn.Module) -> list[Stack]:
    """The parameters of a module that hold a matrix for each of its experts, in its order."""
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
    """Every module whose own parameters are matrices of experts, by its path."""
    return {name: module for name, module in model.named_modules() if stacks_of(module)}


def router_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Every module that holds a router's weight, by its path; it may be a linear map."""
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
    """Of what has one weight of two dimensions; a quantised map's shape does not say it."""
    if isinstance(module, nn.Linear):
        return module.out_features
    weight = module._parameters.get("weight")
    return len(weight) if weight is not None and weight.ndim == 2 else None


@dataclass(frozen=True)
class Experts:
    """What a model has of them: `each` in a layer, of which a token goes through `used`.

    `inner` is how many values one of them makes of a token before its last map.
    """

    values: int
    each: int
    used: int
    inner: int
    balance: float  # what the loss of balance counts in the model's own loss


def experts_in(model: Any) -> Experts | None:
    """The experts of a model as a whole, None where it has none."""
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
