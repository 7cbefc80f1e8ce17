"""IA3: trained scales on keys, values and the feed-forward's inner activation.

    keys, values       y = W x       -->  y * l     l (O), stored as (O, 1)
    inner activation   y = W2 a      -->  W2 (a * l)    l (I), stored as (1, I)

Liu et al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context
Learning"; stored and initialised as in PEFT. Shapes: `I` inputs, `O` outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.methods.activations import inner_activation_maps, key_value_maps
from brulee.methods.base import Attached, Method, ParameterGroup, copy_checked
from brulee.methods.linear import bias_of, is_transposed, oriented, sizes, weight_of
from brulee.methods.peft_config import PREFIX, read_as, refuse_unsupported, required, task_type
from brulee.methods.targets import leaf_names, select
from brulee.methods.tying import check_apart
from brulee.methods.wrapping import Wrapper, Wrapping
from brulee.recipe import Strict

_READ = ("fan_in_fan_out", "feedforward_modules", "target_modules")
_HARMLESS: dict[str, tuple[Any, ...]] = {"init_ia3_weights": (True,)}


class IA3Options(Strict):
    """Options of IA3."""

    attention: str | list[str] | None = Field(
        None, description="linear layers whose outputs are scaled; default: keys and values"
    )
    feedforward: str | list[str] | None = Field(
        None, description="linear layers whose inputs are scaled; default: the feed-forward's last"
    )


class IA3(Method):
    """Train scales for keys, values and inner activations."""

    name = "ia3"
    peft_types = ("IA3",)
    summary = "a scale for every key, value and inner activation"
    learning_rate = 3e-3  # the paper's
    Options = IA3Options

    def __init__(self, options: IA3Options | None = None) -> None:
        self._options = options or IA3Options()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> IA3:
        """Read a PEFT adapter_config.json.

        Raises InputError naming a setting, known or not, that this method does not support.
        """
        refuse_unsupported(config, "ia3", _READ, _HARMLESS)
        every = required(config, "target_modules")
        inner = required(config, "feedforward_modules")
        for key, value in (("target_modules", every), ("feedforward_modules", inner)):
            if not isinstance(value, list):
                raise InputError(
                    f"adapter_config.json: {key} = {value!r} is not supported by method ia3: "
                    "a list of names is."
                )
        attention = [name for name in every if name not in inner]
        values = {"attention": attention, "feedforward": inner}
        written = {"attention": "target_modules", "feedforward": "feedforward_modules"}
        return cls(read_as(IA3Options, "an IA3 configuration", values, written))

    def options(self) -> dict[str, Any]:
        """The options, including all defaults."""
        return self._options.model_dump()

    def label(self) -> str:
        """Always "IA3"."""
        return "IA3"

    def attach(self, model: PreTrainedModel, seed: int = 0) -> Attached:  # noqa: ARG002
        """Wrap the scaled layers with scales of one, and freeze every parameter of the base.

        Raises InputError for a name that the model lacks, and if no layer is scaled.
        """
        own = self._options
        inner = _chosen(model, own.feedforward, inner_activation_maps(model), "feedforward")
        outer = _chosen(model, own.attention, key_value_maps(model), "attention")
        chosen = {n: m for n, m in model.named_modules() if n in inner or n in outer}
        if not chosen:
            raise InputError("method ia3: attention and feedforward are both empty.")
        names = _stored_names(model, chosen, inner)
        layers = {name: IA3Linear(module, name in inner) for name, module in chosen.items()}
        return _IA3Attached(Wrapping(model, layers), names)


def _chosen(
    model: PreTrainedModel, named: str | list[str] | None, found: dict[str, nn.Module], option: str
) -> dict[str, nn.Module]:
    if named is not None:
        return select(model, named, option=option)
    if not found:
        raise InputError(
            f"method.{option}: this model's structure does not show them; name the linear "
            "layers, or give [] for none."
        )
    return found


def _stored_names(
    model: PreTrainedModel, chosen: dict[str, nn.Module], inner: dict[str, nn.Module]
) -> tuple[list[str], list[str]]:
    """PEFT's target_modules and feedforward_modules: short names unless they match other modules.

    PEFT treats every path that ends with one of the feed-forward names as one, even mid-word.
    """
    every = leaf_names(model, chosen)
    short = [name for name in every if any(n.rpartition(".")[2] == name for n in inner)]
    if {n for n in chosen if n.endswith(tuple(short))} == set(inner) or not inner:
        return every, short
    return sorted(chosen), sorted(inner)


class IA3Linear(Wrapper):
    """A linear layer whose outputs (with `inner`: inputs) are scaled."""

    def __init__(self, base_layer: nn.Module, inner: bool) -> None:
        super().__init__(base_layer)
        outputs, inputs = sizes(base_layer)
        shape = (1, inputs) if inner else (outputs, 1)
        self.inner = inner
        self.ia3_l = nn.Parameter(torch.ones(shape, device=weight_of(base_layer).device))

    def before(self, x: torch.Tensor) -> torch.Tensor:
        """X (..., I), scaled if the inputs are."""
        return x * self.ia3_l.flatten().to(x.dtype) if self.inner else x

    def after(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Out (..., O), scaled if the outputs are."""
        return out if self.inner else out * self.ia3_l.flatten().to(out.dtype)

    @torch.no_grad()
    def merged(self) -> dict[str, torch.Tensor]:
        """Weight and bias with the scale merged in, in the base's layout, in fp32."""
        weight_OI = oriented(self.base_layer).float() * self.ia3_l
        found = {"weight": weight_OI.T if is_transposed(self.base_layer) else weight_OI}
        bias = bias_of(self.base_layer)
        if bias is not None and not self.inner:
            found["bias"] = bias.float() * self.ia3_l.flatten()
        return found


class _IA3Attached(Attached):
    def __init__(self, wrapping: Wrapping[IA3Linear], names: tuple[list[str], list[str]]) -> None:
        self.model, self._wrapping, self._names = wrapping.model, wrapping, names

    def groups(self) -> list[ParameterGroup]:
        # Decaying a scale to zero would switch off what it scales.
        return [ParameterGroup("ia3", tuple(self._stored().values()), decay=False)]

    def tensors(self) -> dict[str, torch.Tensor]:
        return {k: p.detach().float().cpu().contiguous() for k, p in self._stored().items()}

    def config(self) -> dict[str, Any]:
        every, inner = self._names
        layers = self._wrapping.layers.values()
        return {
            "peft_type": "IA3",
            "task_type": task_type(self.model),
            "target_modules": every,
            "feedforward_modules": inner,
            "fan_in_fan_out": any(is_transposed(layer.base_layer) for layer in layers),
            "init_ia3_weights": True,
            "inference_mode": True,
        }

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        copy_checked(self._stored(), tensors)

    def merge(self) -> None:
        check_apart(self.model, [m.base_layer for m in self._wrapping.layers.values()])
        self._wrapping.fold()

    def detach(self) -> None:
        self._wrapping.off()

    def disabled(self) -> AbstractContextManager[None]:
        return self._wrapping.disabled()

    def _stored(self) -> dict[str, nn.Parameter]:
        layers = self._wrapping.layers
        return {f"{PREFIX}{name}.ia3_l": layer.ia3_l for name, layer in layers.items()}
