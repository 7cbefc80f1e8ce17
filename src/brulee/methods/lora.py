"""LoRA: a frozen weight plus a trained product of two thin matrices.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", and its extensions: rsLoRA
(Kalajdzievski 2023), DoRA (Liu et al. 2024), PiSSA (Meng et al. 2024), LoRA+ (Hayou et al. 2024).
Stored and initialised as in PEFT; the computation is in lora_layer.py and lora_embedding.py.
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
from brulee.methods.base import Attached, Method, ParameterGroup, check_tensors
from brulee.methods.elsewhere import names_of_text
from brulee.methods.layer_choice import Last
from brulee.methods.linear import is_transposed
from brulee.methods.linear import sizes as outer_sizes
from brulee.methods.lora_chosen import Chosen, StoredTargets, chosen_by, told_of
from brulee.methods.lora_config import WRITTEN, read_options, stored_size
from brulee.methods.lora_embedding import LoRAEmbedding
from brulee.methods.lora_experts import LoRAParameters, stacks_with
from brulee.methods.lora_layer import LoRALinear
from brulee.methods.lora_sizes import Size, sizes_of
from brulee.methods.peft_config import PREFIX, read_as, task_type
from brulee.methods.targets import read_as_weights
from brulee.methods.tying import untie
from brulee.methods.wrapping import Wrapping
from brulee.models.added_tokens import tables_of
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
        None, description="only in these layers, counted from 0, or only in the last N"
    )
    rslora: bool = Field(False, description="scale by alpha / sqrt(rank)")
    dora: bool = Field(
        False, description="train each output's magnitude separately from its direction"
    )
    init: Literal["default", "pissa"] = Field("default", description="how A and B begin")
    plus_ratio: Alpha = Field(1.0, description="LoRA+: B's learning rate over A's")
    ranks: dict[str, Rank] = Field({}, description="rank by pattern of module paths")
    alphas: dict[str, Alpha] = Field({}, description="alpha by pattern of module paths")


class LoRA(Method):
    """Train a low-rank correction of selected linear layers and embeddings."""

    name = "lora"
    peft_types = ("LORA",)
    summary = "a low-rank correction to each chosen linear layer"
    learning_rate = 1e-3
    of_training = frozenset({"dropout", "plus_ratio"})
    Options = LoRAOptions

    def __init__(
        self,
        options: LoRAOptions | None = None,
        stored: bool = False,
        drops: bool = False,
        further: bool = False,
    ) -> None:
        """`stored`: its tensors will be loaded; `drops`: the dropout is nevertheless a recipe's.

        `further`: what is stored will be trained.
        """
        self._options = options or LoRAOptions()
        self._stored, self._drops = stored, drops or not stored
        self._trains = further or not stored

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LoRA:
        """Read a PEFT adapter_config.json.

        Raises InputError naming a setting, known or not, that this method does not support.
        """
        options = read_as(LoRAOptions, "a LoRA configuration", read_options(config), WRITTEN)
        return cls(options, stored=True)

    def continued(self, options: Mapping[str, Any]) -> LoRA | None:
        """A PiSSA stays one: what is trained of it is half of what is stored."""
        own = LoRAOptions.model_validate(options)
        there = self._options.model_dump()
        size = stored_size(own.model_dump(), (), {})
        same = (
            (size["r"], size["lora_alpha"]) == (there["rank"], there["alpha"])
            and (own.rslora, own.dora) == (there["rslora"], there["dora"])
            and {*there["ranks"].values()} <= {*size["rank_pattern"].values()}
            and {*there["alphas"].values()} <= {*size["alpha_pattern"].values()}
        )
        drops = own.dropout != there["dropout"]
        return LoRA(own, stored=True, drops=drops, further=True) if same else None

    def options(self) -> dict[str, Any]:
        """The options, including all defaults."""
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
        """Wrap the targeted modules and freeze every parameter of the base.

        Raises InputError for a target that the model lacks, or that it does not call in training,
        and for an option that has no effect.
        """
        own = self._options
        target = names_of_text(model, own.target) if self._stored else own.target
        chosen = chosen_by(model, target, own.layers)
        if self._trains:
            _check_called(model, chosen)
        _check_ranks(chosen, own)
        if not self._stored:
            _check_quantised(chosen, own)
        # PEFT stores a dropout for any target; it has no effect after training.
        if own.dropout and self._drops:
            _check_dropout(chosen)
        given = own.rank, own.alpha, own.ranks, own.alphas, own.rslora
        sizes = sizes_of([name for each in chosen for name in each.names], *given)
        generator = torch.Generator().manual_seed(seed)
        layers = {each.path: _layer(each, own, sizes, generator, self._stored) for each in chosen}
        return _LoRAAttached(model, layers, own, told_of(model, chosen))


Layer = LoRALinear | LoRAEmbedding | LoRAParameters


def _check_called(model: PreTrainedModel, chosen: Iterable[Chosen]) -> None:
    unheard = read_as_weights(model)
    found = next((each.path for each in chosen if each.path in unheard), None)
    if found is not None:
        raise InputError(
            f"method.target: {found} cannot be trained with LoRA: Mamba's kernels take its weight "
            "without calling the layer, so that a correction would have no effect; leave it out."
        )


def _check_ranks(chosen: Iterable[Chosen], options: LoRAOptions) -> None:
    """Refuse an absurd rank before it fills the memory.

    A rank above the shorter side of a weight adds nothing. PiSSA is stored at twice its rank, and
    trying useless ranks is allowed; typos are far above this bound.
    """
    most = _HIGHEST * max(_longest_side(each) for each in chosen)
    given = {"rank": options.rank, **{f"ranks {p!r}": r for p, r in options.ranks.items()}}
    for key, rank in given.items():
        if rank > most:
            raise InputError(
                f"method.{key}: a rank of {rank} is higher than any target has room for; "
                f"valid: 1 to {most}."
            )


def _check_quantised(chosen: Iterable[Chosen], options: LoRAOptions) -> None:
    """Refuse options that start from the weights where these are quantised."""
    key = "dora" if options.dora else "init" if options.init == "pissa" else None
    modules = [each.module for each in chosen if isinstance(each.module, nn.Linear)]
    if key is not None and not all(module.weight.is_floating_point() for module in modules):
        raise InputError(
            f"method.{key}: it is computed from the weights themselves, and this base is "
            "quantised; leave it out."
        )


def _longest_side(chosen: Chosen) -> int:
    module = chosen.module
    if chosen.parameters:
        own = [stack for stack in stacks_with(module) if stack.name in chosen.parameters]
        return max(max(stack.outputs, stack.inputs) for stack in own)
    # A long vocabulary does not give its vectors more directions.
    return module.embedding_dim if isinstance(module, nn.Embedding) else max(outer_sizes(module))


def _check_dropout(chosen: Iterable[Chosen]) -> None:
    weights = [name for each in chosen if each.parameters for name in each.names]
    if weights:
        raise InputError(
            f"method.dropout: not available for experts and routers, and {weights[0]} is "
            "targeted; leave it out."
        )
    if all(isinstance(each.module, nn.Embedding) for each in chosen):
        raise InputError(
            "method.dropout: not available for an embedding, and only "
            f"{', '.join(each.path for each in chosen)} is targeted; leave it out."
        )


def _layer(
    chosen: Chosen,
    options: LoRAOptions,
    sizes: Mapping[str, Size],
    generator: torch.Generator,
    stored: bool,
) -> Layer:
    name, module = chosen.path, chosen.module
    if not (chosen.parameters or isinstance(module, nn.Embedding)):
        pissa = name if options.init == "pissa" else None
        size = sizes[chosen.names[0]]
        return LoRALinear(module, size, options.dropout, generator, options.dora, pissa, stored)
    if options.dora or options.init != "default":
        option = "dora" if options.dora else "init"
        kind = "an expert or a router" if chosen.parameters else "an embedding"
        raise InputError(f"method.{option}: not available for {kind}, and {name!r} is one.")
    if isinstance(module, nn.Embedding):
        return LoRAEmbedding(module, sizes[name], generator, name)
    own = {each: sizes[f"{name}.{each}"] for each in chosen.parameters}
    return LoRAParameters(module, own, generator)


class _LoRAAttached(Attached):
    def __init__(
        self,
        model: PreTrainedModel,
        layers: Mapping[str, Layer],
        options: LoRAOptions,
        targets: StoredTargets,
    ) -> None:
        self._tables = frozenset(tables_of(model)) & layers.keys()
        self.model, self._wrapping = model, Wrapping(model, layers)
        self._options, self._targets = options, targets

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The wrappers on the model, by the path of the module they wrap."""
        return self._wrapping.layers

    def groups(self) -> list[ParameterGroup]:
        ratio = self._options.plus_ratio
        layers = self._wrapping.layers.values()
        linears = [layer for layer in layers if isinstance(layer, LoRALinear)]
        tables = [layer for layer in layers if isinstance(layer, LoRAEmbedding)]
        stacks = [layer for layer in layers if isinstance(layer, LoRAParameters)]
        a = [layer.lora_A for layer in linears]
        a += [each for layer in stacks for each in layer.lora_A.values()]
        b = [layer.lora_B for layer in linears]
        b += [each for layer in stacks for each in layer.lora_B.values()]
        # In an embedding A starts at zero, not B; LoRA+ does not cover embeddings.
        looked_up = [p for t in tables for p in (t.lora_embedding_A, t.lora_embedding_B)]
        lengths = [m for layer in linears if (m := layer.lora_magnitude_vector) is not None]
        same = ratio == 1.0
        groups = [
            ParameterGroup("lora", tuple(a + b if same else a), maps=True),
            ParameterGroup("lora_B", () if same else tuple(b), lr_scale=ratio, maps=True),
            ParameterGroup("embeddings", tuple(looked_up)),
            # Decaying a magnitude to zero would not make the correction smaller.
            ParameterGroup("magnitude", tuple(lengths), decay=False),
        ]
        return [group for group in groups if group.parameters]

    def of_tokens(self) -> tuple[nn.Parameter, ...]:
        layers = self._wrapping.layers
        own = (p for path in layers if path in self._tables for p in layers[path].parameters())
        return tuple(p for p in own if p.requires_grad)

    def tensors(self) -> dict[str, torch.Tensor]:
        return {k: t.float().cpu().contiguous() for k, t in self._stored().items()}

    def config(self) -> dict[str, Any]:
        told, layers = self._targets, self._wrapping.layers
        by_weight = {"target_parameters": told.parameters} if told.parameters else {}
        return {
            "peft_type": "LORA",
            "task_type": task_type(self.model),
            **stored_size(self._options.model_dump(), self._names(), told.renamed),
            # PEFT refuses a dropout with target_parameters, and it has no effect after training.
            "lora_dropout": 0.0 if told.parameters else self._options.dropout,
            "target_modules": told.modules,
            **by_weight,
            "fan_in_fan_out": any(is_transposed(layer.base_layer) for layer in layers.values()),
            "bias": "none",
            "use_rslora": self._options.rslora,
            "use_dora": self._options.dora,
            "init_lora_weights": True,
            "inference_mode": True,
        }

    def _names(self) -> list[str]:
        """The names by which the sizes of all corrections are looked up."""
        return [
            name
            for path, layer in self._wrapping.layers.items()
            for name in (
                [f"{path}.{each}" for each in layer.sizes]
                if isinstance(layer, LoRAParameters)
                else [path]
            )
        ]

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        given = self._without_base(tensors)
        check_tensors(self._stored(), given)
        for name, layer in self._wrapping.layers.items():
            layer.take({key: given[f"{PREFIX}{name}.{key}"] for key in layer.stored()})

    def merge(self) -> None:
        layers = self._wrapping.layers.values()
        untie(self.model, [m.base_layer for m in layers if not isinstance(m, LoRAParameters)])
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
        """Drop frozen embeddings and heads, which PEFT may also store; refuse other bases' ones."""
        given, base = dict(tensors), dict(self.model.named_parameters(remove_duplicate=False))
        for key in tensors.keys() - self._stored().keys():
            own = base.get(key.removeprefix(PREFIX))
            if own is None:
                continue
            if own.shape != given[key].shape or not torch.equal(given[key].to(own), own):
                raise InputError(f"adapter: tensor {key!r} is not that of this base.")
            del given[key]
        return given
