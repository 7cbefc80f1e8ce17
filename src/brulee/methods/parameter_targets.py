"""LoRA targets that are not linear layers: parameters of experts, and of routers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.methods.targets import linear_modules
from brulee.models.experts import expert_modules, is_of_experts, router_modules, stacks_of

EXPERTS, ROUTER = "experts", "router"
PARAMETER = "parameter:"  # before the end of a parameter's path, as in PEFT's target_parameters
# PEFT 0.21 treats linear layers with these names as experts in many mixture-of-experts families.
_TAKEN_FOR_EXPERTS = {"gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"}


def parted(target: str | Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a target into names of modules and names of parameters."""
    names = [target] if isinstance(target, str) else [*target]
    own = [n for n in names if n in (EXPERTS, ROUTER) or n.startswith(PARAMETER)]
    return [n for n in names if n not in own], own


def select_parameters(model: PreTrainedModel, wanted: Iterable[str]) -> list[str]:
    """The paths of the selected parameters, in the model's order.

    `experts` selects those of all experts, `router` those that choose among them; `parameter:NAME`
    every parameter whose path ends in NAME. Raises InputError for a name that matches no parameter
    that can have a low-rank correction, listing those that can.
    """
    there = _there(model)
    chosen: set[str] = set()
    for word in wanted:
        found = {path for path, kind in there.items() if _is_meant(path, kind, word)}
        if not found:
            raise _unknown(model, there, word)
        chosen |= found
    return [path for path in there if path in chosen]


def by_module(paths: Iterable[str]) -> dict[str, list[str]]:
    """Parameter names grouped by their module's path."""
    found: dict[str, list[str]] = {}
    for path in paths:
        module, _, name = path.rpartition(".")
        found.setdefault(module, []).append(name)
    return found


def stored_targets(
    model: PreTrainedModel, modules: Iterable[str], paths: Iterable[str]
) -> tuple[list[str], list[str]]:
    """The targets that PEFT stores by module name, and those that it stores by parameter.

    In a model whose type has experts, PEFT mistakes some names of linear layers for experts and
    would load another adapter, even if all of its layers are dense. Named as a parameter, a linear
    layer is unambiguous.
    """
    modules, mistaken = [*modules], is_of_experts(model)
    taken = {n for n in modules if mistaken and n.rsplit(".", 1)[-1] in _TAKEN_FOR_EXPERTS}
    named = [*paths, *(f"{name}.weight" for name in modules if name in taken)]
    return [name for name in modules if name not in taken], _shortest(model, named)


def _there(model: PreTrainedModel) -> dict[str, str]:
    """The parameters that can have a correction, with their kind."""
    experts, routers, linears = (
        expert_modules(model),
        router_modules(model),
        linear_modules(model),
    )
    found: dict[str, str] = {}
    for path, module in model.named_modules():
        if path in experts:
            found |= {f"{path}.{stack.name}": EXPERTS for stack in stacks_of(module)}
        elif path in routers:
            found[f"{path}.weight"] = ROUTER
        elif path in linears and isinstance(module, nn.Linear):
            found[f"{path}.weight"] = ""
    return found


def _is_meant(path: str, kind: str, word: str) -> bool:
    if not word.startswith(PARAMETER):
        return kind == word
    name = word.removeprefix(PARAMETER)
    return path == name or path.endswith(f".{name}")


def _shortest(model: PreTrainedModel, paths: Sequence[str]) -> list[str]:
    """Path suffixes that select exactly these parameters, or else the full paths."""
    ends = sorted({".".join(path.split(".")[-2:]) for path in paths})
    names = {*(name for name, _ in model.named_parameters()), *_there(model)}
    every = {name for name in names if any(name.endswith(f".{end}") for end in ends)}
    return ends if every == set(paths) else sorted(paths)


def _unknown(model: PreTrainedModel, there: dict[str, Any], word: str) -> InputError:
    who = type(model).__name__
    if word in (EXPERTS, ROUTER):
        return InputError(
            f"method.target: {who} has no {word}; {word} are for a mixture of experts."
        )
    ends = sorted({".".join(path.split(".")[-2:]) for path in there})
    return InputError(
        f"method.target: {word!r} names no weight that can be corrected; it is {PARAMETER} and the "
        f"end of a path in {who}. Valid: {', '.join(ends)}."
    )
