"""Full fine-tuning: trains every parameter that is saved and that text passes through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.methods.base import Attached, Method, ParameterGroup, copy_checked, freeze, untrained
from brulee.methods.targets import map_names
from brulee.models.added_tokens import table_weights
from brulee.recipe import Strict


class FullOptions(Strict):
    """Options of full fine-tuning."""

    keep_base: bool = False


class Full(Method):
    """Train everything; the result is a whole model."""

    name = "full"
    summary = "every parameter; the result is a whole model"
    learning_rate = 1e-4
    Options = FullOptions
    stores_model = True

    def __init__(self, options: FullOptions | None = None) -> None:
        self._options = options or FullOptions()

    def options(self) -> dict[str, Any]:
        """The options, including all defaults."""
        return self._options.model_dump()

    def attach(self, model: PreTrainedModel, seed: int = 0) -> Attached:  # noqa: ARG002
        """Make parameters trainable; `keep_base` keeps a copy on the CPU, so that it can detach."""
        return _FullAttached(model, self._options.keep_base)


class _FullAttached(Attached):
    def __init__(self, model: PreTrainedModel, keep_base: bool) -> None:
        self.model = model
        self._base = _copy(model) if keep_base else None
        self._had = freeze(model)
        for parameter in self._trained().values():
            parameter.requires_grad_(True)

    def replicated(self) -> list[nn.Parameter]:
        return []

    def _trained(self) -> dict[str, nn.Parameter]:
        """Looked up each time: sharding replaces the parameters."""
        fixed = untrained(self.model)
        return {n: p for n, p in self.model.named_parameters() if n not in fixed}

    def groups(self) -> list[ParameterGroup]:
        maps = map_names(self.model)
        own = self._trained()
        moved = tuple(p for n, p in own.items() if n in maps)
        tables = tuple(p for n, p in own.items() if n not in maps and p.ndim >= 2)
        vectors = tuple(p for n, p in own.items() if n not in maps and p.ndim < 2)
        groups = [
            ParameterGroup("maps", moved, maps=True),
            ParameterGroup("tables", tables),
            # No decay for norms and biases: a gain decayed to zero is not a smaller model.
            ParameterGroup("vectors", vectors, decay=False),
        ]
        return [group for group in groups if group.parameters]

    def of_tokens(self) -> tuple[nn.Parameter, ...]:
        names = table_weights(self.model)
        return tuple(p for n, p in self._trained().items() if n in names)

    def tensors(self) -> dict[str, torch.Tensor]:
        return {n: p.detach().float().cpu() for n, p in self.model.named_parameters()}

    def config(self) -> dict[str, Any]:
        return {"peft_type": "BRULEE_FULL"}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        own = dict(self.model.named_parameters())
        copy_checked(own, tensors)

    def merge(self) -> None:
        """Nothing to merge: the base itself was trained."""
        self._base = None

    def detach(self) -> None:
        self._put(self._kept())
        freeze(self.model)
        for parameter in self._had:
            parameter.requires_grad_(True)

    @contextmanager
    def disabled(self) -> Iterator[None]:
        tuned = _copy(self.model)
        self._put(self._kept())
        try:
            yield
        finally:
            self._put(tuned)

    def _kept(self) -> dict[str, torch.Tensor]:
        if self._base is None:
            raise InputError(
                "method full: the base was overwritten by training; load it again, "
                "or set method.keep_base=true to hold a copy."
            )
        return self._base

    @torch.no_grad()
    def _put(self, values: Mapping[str, torch.Tensor]) -> None:
        for name, parameter in self.model.named_parameters():
            parameter.copy_(values[name])


def _copy(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone().cpu() for n, p in model.named_parameters()}
