"""What a LoRA applies to: linear layers, embeddings, and parameters of experts and routers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.methods.layer_choice import Last, layer_prefixes
from brulee.methods.parameter_targets import (
    by_module,
    parted,
    select_parameters,
    stored_targets,
)
from brulee.methods.targets import leaf_names, linear_modules, select


@dataclass(frozen=True)
class Chosen:
    """A module that gets corrections; `parameters`: which of its own, if it is not a linear layer.

    `named`: it was selected by the path of its weight.
    """

    path: str
    module: nn.Module
    parameters: tuple[str, ...] = ()
    named: bool = False

    @property
    def names(self) -> list[str]:
        """The names by which each correction's size is looked up."""
        if self.named:
            return [f"{self.path}.weight"]
        return [f"{self.path}.{name}" for name in self.parameters] or [self.path]


def chosen_by(
    model: PreTrainedModel, target: str | list[str], layers: Last | list[int] | None
) -> list[Chosen]:
    """What the options select, in the model's order."""
    names, weights = parted(target)
    modules = select(model, names, vocabulary=True) if names else {}
    paths = by_module(select_parameters(model, weights))
    maps = linear_modules(model).keys()
    found = []
    for path, module in model.named_modules():
        if path in modules or (path in paths and path in maps):
            found.append(Chosen(path, module, named=path not in modules))
        elif path in paths:
            found.append(Chosen(path, module, tuple(paths[path])))
    return _in_layers(model, found, layers)


def _in_layers(
    model: PreTrainedModel, chosen: list[Chosen], layers: Last | list[int] | None
) -> list[Chosen]:
    """The modules in these layers. Raises InputError if there are none."""
    if layers is None:
        return chosen
    prefixes = layer_prefixes(model, layers)
    within = [each for each in chosen if each.path.startswith(prefixes)]
    if not within:
        raise InputError(
            "method.layers: nothing that method.target names is in a layer: "
            f"{', '.join(each.path for each in chosen)}."
        )
    return within


def told_of(model: PreTrainedModel, chosen: list[Chosen]) -> StoredTargets:
    """How the file describes the selection, read from the model before anything is wrapped."""
    plain = {each.path: each.module for each in chosen if not (each.parameters or each.named)}
    paths = [name for each in chosen if each.parameters or each.named for name in each.names]
    modules, parameters = stored_targets(model, plain, paths)
    leaves = leaf_names(model, {name: plain[name] for name in modules})
    renamed = {name: f"{name}.weight" for name in plain if name not in modules}
    return StoredTargets(leaves, parameters, renamed)


@dataclass(frozen=True)
class StoredTargets:
    """The targets in PEFT's file; `renamed`: linear layers stored by their weight's path."""

    modules: list[str]
    parameters: list[str]
    renamed: Mapping[str, str]
