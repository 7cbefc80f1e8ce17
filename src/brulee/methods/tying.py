"""Weights that several modules share, as an embedding and the output head often do."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn
from transformers import PreTrainedModel

from brulee.errors import InputError


def untie(model: PreTrainedModel, tables: Collection[nn.Module]) -> None:
    """Give these modules, and all others that share parameters, separate ones.

    A configuration ties whatever a class may share, or nothing: if the embeddings and the head are
    apart, the two biases of BERT's head and Zamba's layers are too when the model is loaded. Raises
    InputError, before anything is changed, for a model that cannot be saved with untied embeddings
    (T5's configuration always ties them), or of which these modules are layers that share weights.
    """
    if not check_untie(model, tables):
        return
    seen: set[int] = set()
    for module in model.modules():
        for name, own in module._parameters.items():
            if own is None:
                continue
            if id(own) in seen:
                apart = nn.Parameter(own.detach().clone(), requires_grad=own.requires_grad)
                setattr(module, name, apart)
            seen.add(id(own))
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
