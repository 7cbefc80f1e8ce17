"""What a hook on a module may say that it does, so that a faster way through the model does it too.

A hook that says nothing may do anything, and the model is then called as it is.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from transformers import PreTrainedModel

KeysAndValues = tuple[torch.Tensor, torch.Tensor]


@runtime_checkable
class Refreshes(Protocol):
    """Writes trained values to where modules read them, and does nothing else before they do."""

    def refresh(self) -> None:
        """Write them, if they may have moved."""


@runtime_checkable
class Prefixes(Protocol):
    """Keys and values that every document reads before its own, and a hook that has it do so.

    The hook does nothing else, and is a method of the module that has them.
    """

    count: int

    def keys_and_values(self) -> list[KeysAndValues]:
        """Those of each layer, (P, K, W), turned by no angle any more."""


def before_layers(
    prefixes: Collection[Prefixes], layers: int, dtype: torch.dtype
) -> list[KeysAndValues | None]:
    """The keys and values that stand before each layer's own; None for each where none do."""
    found = [prefix for prefix in prefixes if prefix.count]
    if not found:
        return [None] * layers
    return [(k.to(dtype), v.to(dtype)) for k, v in found[0].keys_and_values()]


@runtime_checkable
class Adds(Protocol):
    """A forward hook that adds a branch to what its module gives, and does nothing else.

    Where it reads what another module was given, the first of several that are one sub-layer, a
    method of it is hooked before that one.
    """

    branch: nn.Module

    def added(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """The sum, for a module, or several, that make h (..., D) of x (..., D)."""


@runtime_checkable
class Renorms(Protocol):
    """A forward hook on a norm that gives norm(z + branch(norm(z))) of z, and does nothing else."""

    branch: nn.Module

    def again(self, z: torch.Tensor, normed: torch.Tensor) -> torch.Tensor:
        """What is normed the second time, of z and its norm."""


def renormings(norm: nn.Module) -> list[Renorms]:
    """What is added before a norm, of what it gave."""
    hooks: list[Any] = list(norm._forward_hooks.values())
    return [hook for hook in hooks if isinstance(hook, Renorms)]


def additions(module: nn.Module) -> list[Adds]:
    """What is added to what a module gives."""
    hooks: list[Any] = list(module._forward_hooks.values())
    return [hook for hook in hooks if isinstance(hook, Adds)]


def with_additions(module: nn.Module, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """What a module that made h (..., D) of x (..., D) gives, with all that is added to it."""
    if not module._forward_hooks:
        return h
    for hook in additions(module):
        h = hook.added(x, h)
    return h


def owners(
    model: PreTrainedModel, kind: Any, without: Collection[nn.Module] = frozenset()
) -> list[Any]:
    """Those of a kind whose methods modules call before they compute; None for a plain function."""
    modules = (m for m in model.modules() if m not in without)
    hooks = [hook for m in modules for hook in m._forward_pre_hooks.values()]
    found = {id(own): own for own in (getattr(hook, "__self__", None) for hook in hooks)}
    return [own for own in found.values() if isinstance(own, kind)]
