"""Modules put around a model's own, which can be switched off and taken off again."""

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
    """A module that stands where `base_layer` stood, and calls it.

    What it does to a token is `after(x, base_layer(before(x)))`, so that the tokens of several
    adapters can go through the original at once (inference/routing.py). While `enabled` is False it
    computes what the original computes. One that is not `by_token` does something else.
    """

    by_token: ClassVar[bool] = True

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer, self.enabled = base_layer, True
        self.train(base_layer.training)  # a new module is in training, its model may not be

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the original computes, with what this does to it."""
        out: torch.Tensor
        if not self.enabled:
            out = self.base_layer(x)
            return out
        return self.after(x, self.base_layer(self.before(x)))

    def before(self, x: torch.Tensor) -> torch.Tensor:
        """What the original is given instead of x."""
        return x

    def after(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """What stands in for the original's output `out`, which may be written over."""
        return out

    @abstractmethod
    def merged(self) -> dict[str, torch.Tensor]:
        """What the original's parameters become when this is folded in, by name, in fp32."""

    @property
    def weight(self) -> torch.Tensor:
        """The original's weight: some models (T5) look at its type before they call the layer."""
        return weight_of(self.base_layer)

    @property
    def bias(self) -> torch.Tensor | None:
        """The original's bias."""
        return bias_of(self.base_layer)


W = TypeVar("W", bound=Wrapper)


class Wrapping(Generic[W]):
    """Wrappers on a model whose own parameters are frozen, by the path they stand at."""

    def __init__(self, model: PreTrainedModel, layers: Mapping[str, W]) -> None:
        self.model, self.layers = model, dict(layers)
        self._thaw = freeze(model)
        for name, layer in self.layers.items():
            put(model, name, layer)

    @torch.no_grad()
    def fold(self) -> None:
        """Write what the wrappers make of them into the originals, and take the wrappers off."""
        for layer in self.layers.values():
            for key, value in layer.merged().items():
                layer.base_layer.get_parameter(key).copy_(value)
        self.off()

    def off(self) -> None:
        """Put the originals back and thaw what was frozen."""
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
