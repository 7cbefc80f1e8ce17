"""Hooks on modules of transformers that otherwise cannot be trained, or not after an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import nn


def mend(model: nn.Module) -> None:
    """Register the hooks of `MENDS` on the model's modules, by the names of their classes."""
    for module in model.modules():
        if (how := MENDS.get(type(module).__name__)) is not None:
            how(module)


def _is_all_text(module: nn.Module) -> None:
    """Say that no token is an image's: without it, Molmo 2 refuses a forward pass in training."""

    def said(module: nn.Module, arguments: Any, named: dict[str, Any]) -> tuple[Any, Any]:
        ids = named.get("input_ids")
        given = named.get("mm_token_type_ids")
        if module.training and given is None and isinstance(ids, torch.Tensor):
            named = {**named, "mm_token_type_ids": torch.zeros_like(ids)}
        return arguments, named

    module.register_forward_pre_hook(said, with_kwargs=True)


def _has_its_capacity(module: nn.Module) -> None:
    """Keep the capacity of NLLB-MoE's experts, which the router replaces by that of an evaluation.

    It evaluates with the number of tokens in the batch, and would then train with that of the last
    one: a generated token, perhaps.
    """
    router: Any = module
    asked = router.expert_capacity

    def restored(module: Any, _: Any) -> None:
        module.expert_capacity = asked

    router.register_forward_pre_hook(restored)


MENDS: Final[Mapping[str, Callable[[nn.Module], None]]] = {
    "Molmo2Model": _is_all_text,
    "NllbMoeTop2Router": _has_its_capacity,
}
