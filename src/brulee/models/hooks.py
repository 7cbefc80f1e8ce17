"""Protocols by which a hook declares what it does, so that the fused passes can do it too.

A model with any other hook, which could do anything, runs its own forward.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from transformers import PreTrainedModel

STAND_IN = "_tuned"  # after a parameter's name: what is trained in its place, on the same module
KeysAndValues = tuple[torch.Tensor, torch.Tensor]


@runtime_checkable
class Refreshes(Protocol):
    """A pre-hook that only writes trained values to where modules read them."""

    def refresh(self) -> None:
        """Write the values, if they may have changed."""


@runtime_checkable
class Prefixes(Protocol):
    """Keys and values that precede every document's own, put there by a hook.

    The hook does nothing else, and is a method of the module that owns them.
    """

    count: int

    def keys_and_values(self) -> list[KeysAndValues]:
        """The keys and values of each layer, (P, K, W), not to be rotated any more."""


def before_layers(
    prefixes: Collection[Prefixes], layers: int, dtype: torch.dtype
) -> list[KeysAndValues | None]:
    """The prefix keys and values of each layer; None for each layer if there is no prefix."""
    found = [prefix for prefix in prefixes if prefix.count]
    if not found:
        return [None] * layers
    return [(k.to(dtype), v.to(dtype)) for k, v in found[0].keys_and_values()]


@runtime_checkable
class Adds(Protocol):
    """A forward hook that adds a branch to its module's output, and does nothing else.

    If a sub-layer consists of several modules, the branch reads the first one's input, through
    another method of the same object that is a pre-hook there.
    """

    branch: nn.Module

    def added(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """The output h (..., D) plus the branch, for a module or several with input x (..., D)."""


@runtime_checkable
class Renorms(Protocol):
    """A forward hook that turns norm(z) into norm(z + branch(norm(z))), and does nothing else."""

    branch: nn.Module

    def again(self, z: torch.Tensor, normed: torch.Tensor) -> torch.Tensor:
        """The input of the second norm, from z and norm(z)."""


def renormings(norm: nn.Module) -> list[Renorms]:
    """The `Renorms` hooks of a norm."""
    hooks: list[Any] = list(norm._forward_hooks.values())
    return [hook for hook in hooks if isinstance(hook, Renorms)]


def additions(module: nn.Module) -> list[Adds]:
    """The `Adds` hooks of a module."""
    hooks: list[Any] = list(module._forward_hooks.values())
    return [hook for hook in hooks if isinstance(hook, Adds)]


def with_additions(
    module: nn.Module, x: torch.Tensor, h: torch.Tensor, stream: torch.Tensor | None = None
) -> torch.Tensor:
    """The output h (..., D) of a module with input x (..., D), plus all branches added to it.

    Where the module adds the residual `stream` itself, so that branches read the sum (BLOOM), the
    result is still without it.
    """
    if not module._forward_hooks:
        return h
    h = h if stream is None else stream + h
    for hook in additions(module):
        h = hook.added(x, h)
    return h if stream is None else h - stream


def owners(
    model: PreTrainedModel, kind: Any, without: Collection[nn.Module] = frozenset()
) -> list[Any]:
    """The objects of a kind whose methods are pre-hooks; plain functions count as None."""
    modules = (m for m in model.modules() if m not in without)
    hooks = [hook for m in modules for hook in m._forward_pre_hooks.values()]
    found = {id(own): own for own in (getattr(hook, "__self__", None) for hook in hooks)}
    return [own for own in found.values() if isinstance(own, kind)]
