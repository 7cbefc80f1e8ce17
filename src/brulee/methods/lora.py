"""LoRA: a frozen weight plus a trained product of two thin matrices.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", with what grew from it: rsLoRA
(Kalajdzievski 2023), DoRA (Liu et al. 2024), PiSSA (Meng et al. 2024), LoRA+ (Hayou et al. 2024).
Stored and initialised as PEFT does; the mathematics is in lora_layer.py and lora_embedding.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.methods.base import Attached, Group, Method, check_tensors
from brulee.methods.layer_choice import Last, layer_prefixes
from brulee.methods.linear import is_transposed
from brulee.methods.linear import sizes as outer_sizes
from brulee.methods.lora_config import WRITTEN, read_options, stored_size
from brulee.methods.lora_embedding import LoRAEmbedding
from brulee.methods.lora_layer import LoRALinear
from brulee.methods.lora_sizes import Size, sizes_of
from brulee.methods.peft_config import PREFIX, read_as, task_type
from brulee.methods.targets import leaf_names, select
from brulee.methods.tying import untie
from brulee.methods.wrapping import Wrapping
from brulee.recipe import Strict

_HIGHEST = 4  # times the longest side of a target
Rank = Annotated[int, Field(ge=1)]
Alpha = Annotated[float, Field(gt=0)]


class LoRAOptions(Strict):
    """Options of LoRA."""

    rank: Rank = 8
    alpha: Alpha = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target: str | Annotated[list[str], Field(min_length=1)] = "all-linear"
    layers: Last | Annotated[list[int], Field(min_length=1)] | None = Field(
        None, description="only in these layers, counted from 0, or in the last so many"
    )
    rslora: bool = Field(False, description="scale by alpha / sqrt(rank)")
    dora: bool = Field(False, description="train each output's length apart from its direction")
    init: Literal["default", "pissa"] = Field("default", description="how A and B begin")
    plus_ratio: Alpha = Field(1.0, description="LoRA+: B's learning rate over A's")
    ranks: dict[str, Rank] = Field({}, description="rank by pattern of module paths")
    alphas: dict[str, Alpha] = Field({}, description="alpha by pattern of module paths")


class LoRA(Method):
    """Train a low-rank correction of chosen linear maps and embeddings."""

    name = "lora"
    summary = "a low-rank correction beside each chosen linear map"
    learning_rate = 1e-3
    Options = LoRAOptions

    def __init__(self, options: LoRAOptions | None = None, stored: bool = False) -> None:
        self._options = options or LoRAOptions()
        self._stored = stored

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LoRA:
        """Read a PEFT adapter_config.json.

        Raises InputError naming a setting that this method does not compute, known or not.
        """
        options = read_as(LoRAOptions, "a LoRA configuration", read_options(config), WRITTEN)
        return cls(options, stored=True)

    def options(self) -> dict[str, Any]:
        """The options, every default written out."""
        return self._options.model_dump()

    def label(self) -> str:
        """For instance "LoRA r8" or "rsLoRA DoRA r16"."""
        own = self._options
        named = {
            "LoRA+": own.plus_ratio != 1.0,
            "rsLoRA": own.rslora,
            "DoRA": own.dora,
            "PiSSA": own.init == "pissa",
        }
        kinds = [kind for kind, on in named.items() if on] or ["LoRA"]
        return f"{' '.join(kinds)} r{own.rank}"

    def attach(self, model: PreTrainedModel, seed: int = 0) -> _LoRAAttached:
        """Wrap the targeted modules; every parameter of the base is frozen.

        Raises InputError for a target that the model lacks, and for an option that none reads.
        """
        own = self._options
        chosen = _in_layers(model, select(model, own.target, vocabulary=True), own.layers)
        _check_ranks(chosen.values(), own)
        # PEFT writes a dropout whatever the target, and it computes nothing once it is trained.
        if own.dropout and not self._stored:
            _check_dropout(chosen)
        sizes = sizes_of(chosen, own.rank, own.alpha, own.ranks, own.alphas, own.rslora)
        generator = torch.Generator().manual_seed(seed)
        targets = leaf_names(model, chosen)
        layers = {
            name: _layer(module, own, sizes[name], generator, name)
            for name, module in chosen.items()
        }
        return _LoRAAttached(Wrapping(model, layers), own, targets)


def _in_layers(
    model: PreTrainedModel, chosen: dict[str, nn.Module], layers: Last | list[int] | None
) -> dict[str, nn.Module]:
    """Those of the modules that are in these layers. Raises InputError where none is."""
    if layers is None:
        return chosen
    prefixes = layer_prefixes(model, layers)
    within = {name: module for name, module in chosen.items() if name.startswith(prefixes)}
    if not within:
        raise InputError(
            f"method.layers: nothing that method.target names is in a layer: {', '.join(chosen)}."
        )
    return within


Layer = LoRALinear | LoRAEmbedding


def _check_ranks(chosen: Iterable[nn.Module], options: LoRAOptions) -> None:
    """Refuse a rank before it fills the memory: past a side of the weight it adds nothing.

    PiSSA is stored at twice its rank, and whoever tries what adds nothing may; slips are far above.
    """
    most = _HIGHEST * max(_longest_side(module) for module in chosen)
    given = {"rank": options.rank, **{f"ranks {p!r}": r for p, r in options.ranks.items()}}
    for key, rank in given.items():
        if rank > most:
            raise InputError(
                f"method.{key}: a rank of {rank} is higher than any target has room for; "
                f"valid: 1 to {most}."
            )


def _longest_side(module: nn.Module) -> int:
    # A vocabulary is long without its vectors having more directions.
    return module.embedding_dim if isinstance(module, nn.Embedding) else max(outer_sizes(module))


def _check_dropout(chosen: Mapping[str, nn.Module]) -> None:
    if all(isinstance(module, nn.Embedding) for module in chosen.values()):
        raise InputError(
            f"method.dropout: not for an embedding, and only {', '.join(chosen)} is targeted; "
            "leave it out."
        )


def _layer(
    module: nn.Module, options: LoRAOptions, size: Size, generator: torch.Generator, name: str
) -> Layer:
    if not isinstance(module, nn.Embedding):
        pissa = name if options.init == "pissa" else None
        return LoRALinear(module, size, options.dropout, generator, options.dora, pissa)
    if options.dora or options.init != "default":
        option = "dora" if options.dora else "init"
        raise InputError(f"method.{option}: not for an embedding, and {name!r} is one.")
    return LoRAEmbedding(module, size, generator, name)


class _LoRAAttached(Attached):
    def __init__(self, wrapping: Wrapping[Layer], options: LoRAOptions, targets: list[str]) -> None:
        self.model, self._wrapping = wrapping.model, wrapping
        self._options, self._targets = options, targets

    @property
    def layers(self) -> Mapping[str, Layer]:
        """What stands on the model, by the path of what it stands around."""
        return self._wrapping.layers

    def groups(self) -> list[Group]:
        ratio = self._options.plus_ratio
        linears = [
            layer for layer in self._wrapping.layers.values() if isinstance(layer, LoRALinear)
        ]
        tables = [
            layer for layer in self._wrapping.layers.values() if isinstance(layer, LoRAEmbedding)
        ]
        a = [layer.lora_A for layer in linears]
        b = [layer.lora_B for layer in linears]
        # Of an embedding it is A that starts at zero: LoRA+ says nothing about its two.
        a += [p for t in tables for p in (t.lora_embedding_A, t.lora_embedding_B)]
        lengths = [m for layer in linears if (m := layer.lora_magnitude_vector) is not None]
        same = ratio == 1.0
        groups = [
            Group("lora", tuple(a + b if same else a)),
            Group("lora_B", () if same else tuple(b), lr_scale=ratio),
            # A length pulled to zero is not a smaller correction.
            Group("magnitude", tuple(lengths), decay=False),
        ]
        return [group for group in groups if group.parameters]

    def tensors(self) -> dict[str, torch.Tensor]:
        return {k: t.float().cpu().contiguous() for k, t in self._stored().items()}

    def config(self) -> dict[str, Any]:
        return {
            "peft_type": "LORA",
            "task_type": task_type(self.model),
            **stored_size(self._options.model_dump(), self._wrapping.layers),
            "lora_dropout": self._options.dropout,
            "target_modules": self._targets,
            "fan_in_fan_out": any(
                is_transposed(t.base_layer) for t in self._wrapping.layers.values()
            ),
            "bias": "none",
            "use_rslora": self._options.rslora,
            "use_dora": self._options.dora,
            "init_lora_weights": True,
            "inference_mode": True,
        }

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        given = self._without_base(tensors)
        check_tensors(self._stored(), given)
        for name, layer in self._wrapping.layers.items():
            layer.take({key: given[f"{PREFIX}{name}.{key}"] for key in layer.stored()})

    def merge(self) -> None:
        layers = self._wrapping.layers.values()
        untie(self.model, [layer.base_layer for layer in layers])
        self._wrapping.fold()

    def detach(self) -> None:
        self._wrapping.off()

    def disabled(self) -> AbstractContextManager[None]:
        return self._wrapping.disabled()

    def _stored(self) -> dict[str, torch.Tensor]:
        return {
            f"{PREFIX}{name}.{key}": tensor
            for name, layer in self._wrapping.layers.items()
            for key, tensor in layer.stored().items()
        }

    def _without_base(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """PEFT may store frozen embeddings and heads too: they must be this base's."""
        given, base = dict(tensors), dict(self.model.named_parameters(remove_duplicate=False))
        for key in tensors.keys() - self._stored().keys():
            own = base.get(key.removeprefix(PREFIX))
            if own is None:
                continue
            if own.shape != given[key].shape or not torch.equal(given[key].to(own), own):
                raise InputError(f"adapter: tensor {key!r} is not that of this base.")
            del given[key]
        return given
