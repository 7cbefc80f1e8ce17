"""Modules that wrap a model's own, and can be disabled and removed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Generic, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel

from brulee.methods.base import freeze
from brulee.methods.linear import bias_of, weight_of


class Wrapper(nn.Module, ABC):
    """A module that takes the place of `base_layer` and calls it.

    It computes `after(x, base_layer(before(x)))` for each token, so that tokens of several adapters
    can go through the original together (inference/routing.py). While `enabled` is False it
    computes what the original does. A wrapper that is not `by_token` does something else.
    """

    by_token: ClassVar[bool] = True

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer, self.enabled = base_layer, True
        self.train(base_layer.training)  # new modules start in training mode, the model may not be

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The original's output, modified by `before` and `after`."""
        out: torch.Tensor
        if not self.enabled:
            out = self.base_layer(x)
            return out
        return self.after(x, self.base_layer(self.before(x)))

    def before(self, x: torch.Tensor) -> torch.Tensor:
        """The input that the original gets instead of x."""
        return x

    def after(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """The output that replaces the original's `out`, which may be overwritten."""
        return out

    @abstractmethod
    def merged(self) -> dict[str, torch.Tensor]:
        """The original's parameters with this merged in, by name, in fp32."""

    @property
    def weight(self) -> torch.Tensor:
        """The original's weight: some models (T5) read its dtype before they call the layer."""
        return weight_of(self.base_layer)

    @property
    def bias(self) -> torch.Tensor | None:
        """The original's bias."""
        return bias_of(self.base_layer)


W = TypeVar("W", bound=Wrapper)


class Wrapping(Generic[W]):
    """Wrappers on a model with frozen parameters, by module path."""

    def __init__(self, model: PreTrainedModel, layers: Mapping[str, W]) -> None:
        self.model, self.layers = model, dict(layers)
        self._thaw = freeze(model)
        for name, layer in self.layers.items():
            put(model, name, layer)

    @torch.no_grad()
    def fold(self) -> None:
        """Write the merged parameters into the originals and remove the wrappers."""
        for layer in self.layers.values():
            for key, value in layer.merged().items():
                layer.base_layer.get_parameter(key).copy_(value)
        self.off()

    def off(self) -> None:
        """Restore the originals and unfreeze what was frozen."""
        for name, layer in self.layers.items():
            put(self.model, name, layer.base_layer)
        for parameter in self._thaw:
            parameter.requires_grad_(True)
        self.layers = {}

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Inside this block the wrappers compute what the originals compute."""
        self._enable(False)
        try:
            yield
        finally:
            self._enable(True)

    def _enable(self, on: bool) -> None:
        for layer in self.layers.values():
            layer.enabled = on


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Set the submodule at a dotted path."""
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)
