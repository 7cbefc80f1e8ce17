"""Bottleneck adapters: small two-layer networks between the frozen sub-layers.

          x (..., D)
       .------+------.
       |             |
       |      down (R, D), its bias
       |         activation
       |      up (D, R), its bias     zero at the start
       |             |  * scaling
       '------+------'
          y (..., D)

Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP"; Pfeiffer et al. 2020,
"AdapterFusion"; He et al. 2022, "Towards a Unified View of Parameter-Efficient Transfer Learning".
bottleneck_places.py says which tensor x is and where y goes. Shapes: `D` width, `R` bottleneck.
An adapter has 2 D R + R + D parameters; Houlsby adds two per layer, the others one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, Literal, NoReturn

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.methods.base import Attached, Method, ParameterGroup, copy_checked, freeze
from brulee.methods.bottleneck_places import (
    Handles,
    after,
    before_norm,
    beside,
    last_norms,
    sublayers,
)
from brulee.methods.peft_config import read_as, required
from brulee.methods.stacks import Layer, layers
from brulee.models.stack_configs import stack_configs
from brulee.recipe import Strict

_WIDEST = 4  # times the model's width: as wide as a feed-forward, no longer a bottleneck

_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


class BottleneckOptions(Strict):
    """Options of bottleneck adapters."""

    kind: Literal["houlsby", "pfeiffer", "parallel"] = "pfeiffer"
    reduction: Annotated[float, Field(ge=1)] = Field(16, description="model width / bottleneck")
    width: Annotated[int, Field(ge=1)] | None = Field(None, description="instead of reduction")
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    scaling: Annotated[float, Field(gt=0)] | None = Field(None, description="1; parallel: 4")
    cross_attention: bool = Field(False, description="houlsby in a decoder that reads an encoder")


class Bottleneck(Method):
    """Train small networks inserted between the sub-layers of every layer."""

    name = "bottleneck"
    peft_types = ("BRULEE_BOTTLENECK",)
    summary = "small networks between the sub-layers: Houlsby, Pfeiffer, parallel"
    learning_rate = 1e-3
    Options = BottleneckOptions

    def __init__(self, options: BottleneckOptions | None = None, stored: bool = False) -> None:
        self._options = options or BottleneckOptions()
        self._stored = stored
        given = self._options.model_fields_set
        if self._options.width is not None and "reduction" in given:
            raise InputError("method.width and method.reduction both say how wide; give one.")
        if self._options.cross_attention and self._options.kind != "houlsby":
            raise InputError("method.cross_attention is only read with kind=houlsby.")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Bottleneck:
        """Read an adapter_config.json that this method wrote.

        Raises InputError naming a setting that is missing or malformed.
        """
        keys = ("kind", "width", "activation", "scaling", "cross_attention")
        values = {key: required(config, key) for key in keys}
        return cls(read_as(BottleneckOptions, "a bottleneck", values, {}), stored=True)

    def continued(self, options: Mapping[str, Any]) -> Bottleneck | None:
        """A width that is not the file's is found when it is loaded."""
        own, there = BottleneckOptions.model_validate(options), self._options
        same = (own.kind, own.activation, _scale(own), own.cross_attention) == (
            (there.kind, there.activation, _scale(there), there.cross_attention)
        )
        return Bottleneck(own, stored=True) if same else None

    def options(self) -> dict[str, Any]:
        """The options in use, including defaults; `reduction` only without `width`."""
        unread = set() if self._options.width is None else {"reduction"}
        return self._options.model_dump(exclude=unread)

    def label(self) -> str:
        """For instance "pfeiffer /16"."""
        options = self._options
        return f"{options.kind} " + (
            f"{options.width}" if options.width else f"/{options.reduction:g}"
        )

    def attach(self, model: PreTrainedModel, seed: int = 0) -> Attached:
        """Insert the adapters in every layer of every stack that has a place for one.

        Raises InputError for a layer whose sub-layers cannot be told apart, for a `kind` that no
        layer has a place for, and for `cross_attention` in a model that has none.
        """
        seq2seq = model.config.is_encoder_decoder
        # Adapters trained before this check existed must still load.
        if self._options.cross_attention and not seq2seq and not self._stored:
            raise InputError(
                f"method.cross_attention: {type(model).__name__} has no encoder to attend to; "
                "leave it out."
            )
        return _BottleneckAttached(model, self._options, seed)


class Adapter(nn.Module):
    """A two-layer network without the residual connection, which the caller adds."""

    def __init__(
        self, width: int, bottleneck: int, activation: str, scale: float, seed: torch.Generator
    ) -> None:
        super().__init__()
        self.scale = scale
        self._activation = _ACTIVATIONS[activation]
        # Drawn on the CPU so that a seed gives the same values on every device.
        down_RD = torch.empty(bottleneck, width).uniform_(-1, 1, generator=seed) / math.sqrt(width)
        self.down = nn.Parameter(down_RD)
        self.down_bias = nn.Parameter(torch.zeros(bottleneck))
        self.up = nn.Parameter(torch.zeros(width, bottleneck))
        self.up_bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X (..., D) -> (..., D), in the dtype of x."""
        down, down_bias, up, up_bias = (p.to(x.dtype) for p in self.parameters())
        h = self._activation(F.linear(x, down, down_bias))
        return self.scale * F.linear(h, up, up_bias)


class _BottleneckAttached(Attached):
    def __init__(self, model: PreTrainedModel, options: BottleneckOptions, seed: int) -> None:
        self.model, self._options = model, options
        self.width = _width_of(model)
        self.bottleneck = options.width or max(1, int(self.width / options.reduction))
        if self.bottleneck > _WIDEST * self.width:
            raise InputError(
                f"method.width: {self.bottleneck} is no bottleneck of a model that is "
                f"{self.width} wide; valid: 1 to {_WIDEST * self.width}."
            )
        self.scale = _scale(options)
        self._generator = torch.Generator().manual_seed(seed)
        # Found before the model is changed, because this may raise.
        found = layers(model)
        _check_kind(options.kind, model, found)
        norms = last_norms(model) if options.kind == "pfeiffer" else {}
        self._thaw = freeze(model)
        self._adapters: dict[str, Adapter] = {}
        self._hooks: Handles = []
        self._places = [p for layer in found for p in self._put(layer, norms.get(layer.path))]
        self._hook()

    def groups(self) -> list[ParameterGroup]:
        every = [p for adapter in self._adapters.values() for p in adapter.parameters()]
        matrices = tuple(p for p in every if p.ndim == 2)
        biases = tuple(p for p in every if p.ndim == 1)
        return [
            ParameterGroup("bottleneck", matrices, maps=True),
            ParameterGroup("biases", biases, decay=False),
        ]

    def tensors(self) -> dict[str, torch.Tensor]:
        return {k: p.detach().float().cpu().contiguous() for k, p in self._stored().items()}

    def config(self) -> dict[str, Any]:
        seq2seq = self.model.config.is_encoder_decoder
        return {
            "peft_type": "BRULEE_BOTTLENECK",
            "task_type": "SEQ_2_SEQ_LM" if seq2seq else "CAUSAL_LM",
            "kind": self._options.kind,
            "width": self.bottleneck,
            "activation": self._options.activation,
            "scaling": self.scale,
            "cross_attention": self._options.cross_attention,
        }

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        copy_checked(self._stored(), tensors)

    def merge(self) -> NoReturn:
        """Always refused."""
        raise InputError(
            "method bottleneck cannot merge: what an adapter computes is not linear, and the base "
            "has no place for it. Keep the adapter beside its base, or train with method.name=lora."
        )

    def detach(self) -> None:
        self._unhook()
        for path in self._adapters:
            parent, _, leaf = path.rpartition(".")
            delattr(self.model.get_submodule(parent), leaf)
        for parameter in self._thaw:
            parameter.requires_grad_(True)
        self._adapters, self._places = {}, []

    @contextmanager
    def disabled(self) -> Iterator[None]:
        self._unhook()
        try:
            yield
        finally:
            self._hook()

    def _put(self, layer: Layer, last_norm: nn.Module | None) -> list[Callable[[], Handles]]:
        """Add adapters to a layer; returns for each a function that registers its hooks."""
        module = self.model.get_submodule
        if self._options.kind == "houlsby":
            named = sublayers(layer, self._options.cross_attention)
            return [partial(after, module(p), self._new(layer, n)) for n, p in named.items()]
        if layer.first is None or layer.last is None:
            return []
        adapter = self._new(layer, "feed_forward")
        if self._options.kind == "parallel":
            return [partial(beside, module(layer.first), module(layer.last), adapter)]
        if last_norm is not None:
            return [partial(before_norm, last_norm, adapter)]
        return [partial(after, module(layer.path), adapter)]

    def _new(self, layer: Layer, name: str) -> Adapter:
        module = self.model.get_submodule(layer.path)
        options = (self._options.activation, self.scale, self._generator)
        adapter = Adapter(self.width, self.bottleneck, *options)
        adapter.to(next(module.parameters()).device).train(module.training)
        module.add_module(f"bottleneck_{name}", adapter)
        self._adapters[f"{layer.path}.bottleneck_{name}"] = adapter
        return adapter

    def _hook(self) -> None:
        self._hooks = [handle for place in self._places for handle in place()]

    def _unhook(self) -> None:
        for handle in self._hooks:
            handle.remove()
        self._hooks = []

    def _stored(self) -> dict[str, nn.Parameter]:
        return {
            f"{path}.{name}": parameter
            for path, adapter in self._adapters.items()
            for name, parameter in adapter.named_parameters()
        }


def _scale(options: BottleneckOptions) -> float:
    return options.scaling or (4.0 if options.kind == "parallel" else 1.0)


def _check_kind(kind: str, model: PreTrainedModel, found: list[Layer]) -> None:
    """Raise InputError for a kind that this model's layers have no place for."""
    name = type(model).__name__
    if kind == "houlsby" and (several := next((at for at in found if at.several), None)):
        raise InputError(
            f"method.kind=houlsby: {several.path} of {name} adds up several feed-forwards, so that "
            "none has the output that an adapter would read; valid: pfeiffer, parallel."
        )
    if kind != "houlsby" and all(layer.first is None for layer in found):
        raise InputError(
            f"method.kind={kind}: no layer of {name} has a feed-forward; valid: houlsby."
        )


def _width_of(model: PreTrainedModel) -> int:
    """The width of all layers. Raises InputError if encoder and decoder differ."""
    widths = [int(config.hidden_size) for config in stack_configs(model.config)]
    if len(set(widths)) > 1:
        raise InputError(
            f"method bottleneck: the encoder of {type(model).__name__} is {widths[0]} wide and its "
            f"decoder {widths[1]}, but the adapters of a file are of one width; valid methods: "
            "full, ia3, lora, prefix, prompt, selective."
        )
    return widths[0]
