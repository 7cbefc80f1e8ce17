"""LoRA: a frozen weight plus a trained product of two thin matrices.

                 x (..., I)
            .----------+----------.
            |                     |
       W (O, I) frozen       A (R, I)   random
            |                     |
            |                B (O, R)   zero at the start
            |                     |  * alpha / R
            '----------+----------'
                  y (..., O)

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models"; stored and initialised as PEFT
does. Shapes: `I` inputs, `O` outputs, `R` rank, `N` tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from brulee.errors import InputError
from brulee.methods.base import Attached, Group, Method, copy_checked, freeze
from brulee.methods.targets import leaf_names, select
from brulee.recipe import Strict

PREFIX = "base_model.model."
# Keys of a PEFT config under which it is plain LoRA only with these values, nothing being one.
_PLAIN: dict[str, tuple[Any, ...]] = {
    # The other starts (PiSSA, OLoRA, LoftQ ...) change the base too, and not in this file.
    "init_lora_weights": (True, "gaussian", "orthogonal", "eva"),
    "qalora_group_size": (16,),
    "megatron_core": ("megatron.core",),
}
# Keys that say how an adapter was made, or are read by name.
_READ = {
    "auto_mapping",
    "base_model_name_or_path",
    "eva_config",
    "fan_in_fan_out",
    "inference_mode",
    "layers_pattern",
    "lora_alpha",
    "lora_dropout",
    "peft_type",
    "peft_version",
    "r",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
}


class LoRAOptions(Strict):
    """Options of LoRA."""

    rank: Annotated[int, Field(ge=1)] = 8
    alpha: Annotated[float, Field(gt=0)] = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target: str | list[str] = "all-linear"


class LoRA(Method):
    """Train a low-rank correction of chosen linear maps."""

    name = "lora"
    summary = "a low-rank correction beside each chosen linear map"
    learning_rate = 1e-3
    Options = LoRAOptions

    def __init__(self, options: LoRAOptions | None = None) -> None:
        self._options = options or LoRAOptions()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LoRA:
        """Read a PEFT adapter_config.json.

        Raises InputError naming a setting that this method does not compute, known or not.
        """
        for key in sorted(config.keys() - _READ):
            value = config[key]
            if value not in (None, False, "none", [], {}, *_PLAIN.get(key, ())):
                raise InputError(
                    f"adapter_config.json: {key} = {value!r} is not supported by method lora."
                )
        try:
            return cls(
                LoRAOptions(
                    rank=config["r"],
                    alpha=config["lora_alpha"],
                    dropout=config.get("lora_dropout", 0.0) or 0.0,
                    target=config["target_modules"],
                )
            )
        except KeyError as error:
            raise InputError(f"adapter_config.json: the key {error} is missing.") from None
        except ValueError as error:
            reason = " ".join(str(error).split())[:160]
            raise InputError(f"adapter_config.json: not a LoRA configuration: {reason}") from None

    def options(self) -> dict[str, Any]:
        """The options, every default written out."""
        return self._options.model_dump()

    def label(self) -> str:
        """For instance "LoRA r8"."""
        return f"LoRA r{self._options.rank}"

    def attach(self, model: PreTrainedModel, seed: int = 0) -> Attached:
        """Wrap the targeted linear modules; every parameter of the base is frozen."""
        chosen = select(model, self._options.target)
        return _LoRAAttached(model, chosen, self._options, seed)


class LoRALinear(nn.Module):
    """A linear map and its low-rank correction; `base_layer` keeps the frozen original."""

    def __init__(
        self, base_layer: nn.Module, rank: int, scale: float, dropout: float, seed: torch.Generator
    ) -> None:
        super().__init__()
        weight = weight_of(base_layer)
        self.transposed = isinstance(base_layer, Conv1D)
        outputs, inputs = weight.T.shape if self.transposed else weight.shape
        self.base_layer = base_layer
        self.scale, self.dropout, self.enabled = scale, dropout, True
        self.train(base_layer.training)  # a new module is in training, its model may not be
        # Drawn on the CPU so that a seed means the same values on every device.
        a_RI = torch.empty(rank, inputs).uniform_(-1, 1, generator=seed) / math.sqrt(inputs)
        self.lora_A = nn.Parameter(a_RI.to(weight.device))
        self.lora_B = nn.Parameter(torch.zeros(outputs, rank, device=weight.device))

    @property
    def weight(self) -> torch.Tensor:
        """The base's weight: some models (T5) look at its type before they call the layer."""
        return weight_of(self.base_layer)

    @property
    def bias(self) -> torch.Tensor | None:
        """The base's bias."""
        bias = self.base_layer.bias
        assert bias is None or isinstance(bias, torch.Tensor), "a bias is a tensor"
        return bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """X (..., I) -> (..., O)."""
        if not self.enabled:
            out: torch.Tensor = self.base_layer(x)
            return out
        x_NI = x.reshape(-1, x.shape[-1])
        out_NO = self.base_layer(x_NI)
        if self.dropout and self.training:
            x_NI = F.dropout(x_NI, self.dropout)
        h_NR = F.linear(x_NI, self.lora_A.to(x.dtype))
        # In place: the base's output is nobody else's, and a frozen linear map does not save it.
        out_NO.addmm_(h_NR, self.lora_B.to(x.dtype).T, alpha=self.scale)
        shaped: torch.Tensor = out_NO.view(*x.shape[:-1], -1)
        return shaped

    def delta(self) -> torch.Tensor:
        """The correction in the orientation of the base's weight, in fp32."""
        delta_OI = self.scale * (self.lora_B.detach().float() @ self.lora_A.detach().float())
        return delta_OI.T if self.transposed else delta_OI


class _LoRAAttached(Attached):
    def __init__(
        self,
        model: PreTrainedModel,
        chosen: dict[str, nn.Module],
        options: LoRAOptions,
        seed: int,
    ) -> None:
        self.model, self._options = model, options
        self._targets = leaf_names(model, chosen)
        self._thaw = freeze(model)
        generator = torch.Generator().manual_seed(seed)
        scale = options.alpha / options.rank
        self.layers = {
            name: LoRALinear(module, options.rank, scale, options.dropout, generator)
            for name, module in chosen.items()
        }
        for name, layer in self.layers.items():
            put(model, name, layer)

    def groups(self) -> list[Group]:
        parameters = [p for layer in self.layers.values() for p in (layer.lora_A, layer.lora_B)]
        return [Group("lora", tuple(parameters))]

    def tensors(self) -> dict[str, torch.Tensor]:
        return {k: p.detach().float().cpu().contiguous() for k, p in self._stored().items()}

    def config(self) -> dict[str, Any]:
        seq2seq = self.model.config.is_encoder_decoder
        return {
            "peft_type": "LORA",
            "task_type": "SEQ_2_SEQ_LM" if seq2seq else "CAUSAL_LM",
            "r": self._options.rank,
            "lora_alpha": self._options.alpha,
            "lora_dropout": self._options.dropout,
            "target_modules": self._targets,
            "fan_in_fan_out": any(layer.transposed for layer in self.layers.values()),
            "bias": "none",
            "use_rslora": False,
            "use_dora": False,
            "init_lora_weights": True,
            "inference_mode": True,
        }

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        copy_checked(self._stored(), tensors)

    @torch.no_grad()
    def merge(self) -> None:
        for layer in self.layers.values():
            weight = weight_of(layer.base_layer)
            weight.copy_(weight.float() + layer.delta())
        self.detach()

    def detach(self) -> None:
        for name, layer in self.layers.items():
            put(self.model, name, layer.base_layer)
        for parameter in self._thaw:
            parameter.requires_grad_(True)
        self.layers = {}

    @contextmanager
    def disabled(self) -> Iterator[None]:
        self._enable(False)
        try:
            yield
        finally:
            self._enable(True)

    def _enable(self, on: bool) -> None:
        for layer in self.layers.values():
            layer.enabled = on

    def _stored(self) -> dict[str, nn.Parameter]:
        stored = {}
        for name, layer in self.layers.items():
            stored[f"{PREFIX}{name}.lora_A.weight"] = layer.lora_A
            stored[f"{PREFIX}{name}.lora_B.weight"] = layer.lora_B
        return stored


def weight_of(linear: nn.Module) -> torch.Tensor:
    """The weight of a linear map, as a tensor."""
    weight = linear.weight
    assert isinstance(weight, torch.Tensor), "a linear map has a weight"
    return weight


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Set the submodule at a dotted path."""
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)
