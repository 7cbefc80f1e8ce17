"""Weights that several modules share, as an embedding and the output head often do."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.methods.linear import weight_of


def untie(model: PreTrainedModel, tables: Collection[nn.Module]) -> None:
    """Give these modules, and all that share their weights, separate weights.

    Raises InputError, before anything is changed, for a model that cannot be saved with untied
    embeddings (T5's configuration always ties them), or whose layers share weights.
    """
    shared = check_untie(model, tables)
    holders = _holders(model)
    if not shared:
        return
    for weight in shared:
        for module in holders[weight][1:]:
            own = weight_of(module)
            module.weight = nn.Parameter(own.detach().clone(), requires_grad=own.requires_grad)
    model.config.tie_word_embeddings = False


def check_untie(model: PreTrainedModel, tables: Collection[nn.Module]) -> set[int]:
    """The weights that `untie` would separate, by id. Raises InputError as it does."""
    check_apart(model, tables)
    holders = _holders(model)
    shared = {id(table.weight) for table in tables if len(holders[id(table.weight)]) > 1}
    if not shared:
        return shared
    apart = {**model.config.to_dict(), "tie_word_embeddings": False}
    if type(model.config).from_dict(apart).tie_word_embeddings:
        raise InputError(
            "cannot merge: this model shares its embeddings with its head and cannot be stored "
            "with the two apart; keep the adapter beside it."
        )
    return shared


def check_apart(model: PreTrainedModel, modules: Collection[nn.Module]) -> None:
    """Raise InputError if a weight of these modules is another layer's too (Zamba 2).

    Each has a correction of its own, of which one weight cannot hold several. Weights shared with
    the embeddings do not count.
    """
    holders = _holders(model)
    heads = (model.get_input_embeddings(), model.get_output_embeddings())
    own = {id(m.weight) for m in heads if m is not None}
    for module in modules:
        weight = id(module._parameters.get("weight"))
        if weight not in own and len(holders.get(weight, ())) > 1:
            raise InputError(
                f"cannot merge: layers of {type(model).__name__} share weights, and the adapter "
                "changes each layer by itself; keep the adapter beside it."
            )


def _holders(model: PreTrainedModel) -> dict[int, list[nn.Module]]:
    """The modules that hold each parameter under the name `weight`."""
    found: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        if isinstance(module._parameters.get("weight"), nn.Parameter):
            found.setdefault(id(module.weight), []).append(module)
    return found
