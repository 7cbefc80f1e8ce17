"""Modules trained whole alongside a method, each in a copy of its own: PEFT's `modules_to_save`.

As in PEFT, a head that shares the embedding's weight is trained by itself if it is named, and stays
as it is if only the embedding is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from brulee.errors import InputError, nearest
from brulee.methods.base import ParameterGroup
from brulee.methods.peft_config import PREFIX
from brulee.methods.selective_tuned import Whole
from brulee.methods.targets import embedding_modules, map_names
from brulee.methods.tying import check_untie, untie
from brulee.methods.wrapping import Wrapper
from brulee.models.added_tokens import table_weights
from brulee.models.hooks import STAND_IN
from brulee.models.text_part import text_modules


class WholeModules:
    """Copies of all parameters of the modules at `paths`, which compute with them while on.

    Raises InputError for a module that is quantised, has no parameters, or is changed already: it
    holds parameters of a method's `own`.
    """

    def __init__(
        self, model: PreTrainedModel, paths: Sequence[str], own: Sequence[nn.Parameter] = ()
    ) -> None:
        self.model, self.paths = model, tuple(paths)
        maps, self._words = map_names(model), table_weights(model)
        self._tuned: list[Whole] = []
        for path in paths:
            _check(model, path, {id(parameter) for parameter in own})
        for path in paths:
            for name, parameter in model.get_submodule(path).named_parameters(path):
                where, _, leaf = name.rpartition(".")
                owner = (model.get_submodule(where), leaf)
                self._tuned.append(Whole(name, parameter, [owner]))
        self._maps = [one for one in self._tuned if one.name in maps]
        for one in self._tuned:
            module, leaf = one.owners[0]
            module.register_parameter(leaf + STAND_IN, one.parameter)
            one.on()
        # The fused loss reads the head's weight without calling the head.
        tops = {id(m): m for m in (model, model.base_model)}.values()
        self._hooks: list[RemovableHandle] = [
            module.register_forward_pre_hook(self._refresh_hook) for module in tops
        ]

    def groups(self) -> list[ParameterGroup]:
        """The copies: linear maps, other matrices, and vectors without decay."""
        vectors = [one for one in self._tuned if one.base.ndim < 2]
        others = [one for one in self._tuned if one.base.ndim >= 2 and one not in self._maps]
        named = {"whole maps": self._maps, "whole": others, "whole vectors": vectors}
        return [
            ParameterGroup(
                name,
                tuple(one.parameter for one in some),
                decay=some is not vectors,
                maps=some is self._maps,
            )
            for name, some in named.items()
            if some
        ]

    def replicated(self) -> list[nn.Parameter]:
        """The copies, and what they stand in for."""
        return [p for one in self._tuned for p in (one.parameter, one.base)]

    def of_tokens(self) -> tuple[nn.Parameter, ...]:
        """The copies of token embeddings and the head."""
        return tuple(one.parameter for one in self._tuned if one.name in self._words)

    def stored(self) -> dict[str, torch.Tensor]:
        """The copies by PEFT's keys."""
        return {PREFIX + one.name: one.parameter.detach() for one in self._tuned}

    @torch.no_grad()
    def take(self, stored: Mapping[str, torch.Tensor]) -> None:
        """Load stored tensors, which must fit."""
        for one in self._tuned:
            one.parameter.copy_(stored[PREFIX + one.name])

    def check_fold(self) -> None:
        """Raise InputError if `fold` would, before anything is changed."""
        with self.disabled():
            check_untie(self.model, self._tables)

    @torch.no_grad()
    def fold(self) -> None:
        """Make the copies the model's own, with separate weights where only one was trained."""
        for one in self._tuned:
            one.off()
        untie(self.model, self._tables)
        for one in self._tuned:
            module, leaf = one.owners[0]
            module.get_parameter(leaf).copy_(one.parameter)
        self.off()

    @property
    def _tables(self) -> list[nn.Module]:
        return [one.owners[0][0] for one in self._tuned if one.owners[0][1] == "weight"]

    def refresh(self) -> None:
        """Write trained values that may have changed to where modules read them."""
        for one in self._tuned:
            one.refresh()

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The model's own values inside the block."""
        for one in self._tuned:
            one.off()
        try:
            yield
        finally:
            for one in self._tuned:
                one.on()

    def off(self) -> None:
        """Remove the copies."""
        for one in self._tuned:
            if one.is_on:
                one.off()
            module, leaf = one.owners[0]
            delattr(module, leaf + STAND_IN)
            one.close()
        for hook in self._hooks:
            hook.remove()
        self._tuned, self._maps, self._hooks = [], [], []

    def _refresh_hook(self, *_: Any) -> None:
        self.refresh()


def _check(model: PreTrainedModel, path: str, own: Collection[int]) -> None:
    module = model.get_submodule(path)
    wrapped = any(isinstance(one, Wrapper) for one in module.modules())
    tuned = any(leaf in vars(one) for one in module.modules() for leaf in one._parameters)
    if wrapped or tuned or any(id(parameter) in own for parameter in module.parameters()):
        raise InputError(
            f"method.train_whole: {path!r} is changed by the method itself; leave it out of one of "
            "the two."
        )
    parameters = list(module.parameters())
    if not parameters:
        raise InputError(f"method.train_whole: {path!r} has no parameters to train.")
    if not all(parameter.is_floating_point() for parameter in parameters):
        raise InputError(
            f"method.train_whole: {path!r} is quantised, and a quantised weight cannot be trained."
        )


def named(model: PreTrainedModel, names: Sequence[str]) -> list[str]:
    """The paths of the modules that a recipe names, by whole path or by its last parts.

    Raises InputError for a name that no module has, with the nearest one that some have.
    """
    called = embedding_modules(model).keys()
    paths = [
        path
        for path, module in text_modules(model)
        if path
        and next(module.parameters(), None) is not None
        # Of an encoder-decoder's embeddings one only holds the weight.
        and (path in called or not isinstance(module, nn.Embedding))
    ]
    chosen: set[str] = set()
    for name in names:
        found = {path for path in paths if path == name or path.endswith(f".{name}")}
        if not found:
            last = {path.rsplit(".", 1)[-1] for path in paths}
            leaves = sorted(leaf for leaf in last if not leaf.isdigit())
            close = nearest(name, leaves)
            valid = f"did you mean {close[0]!r}? Valid" if close else "valid"
            raise InputError(
                f"method.train_whole: no module is called {name!r}; {valid}: {', '.join(leaves)}."
            )
        chosen |= found
    return _outermost([path for path in paths if path in chosen])


def as_peft_names(model: PreTrainedModel, names: Sequence[str]) -> list[str]:
    """The paths of the modules that PEFT's `modules_to_save` names: by the end of their path.

    Raises InputError for a name that no module has.
    """
    ends = tuple(names)
    found = [path for path, _ in text_modules(model) if path.endswith(ends)]
    for name in names:
        if not any(path.endswith(name) for path in found):
            raise InputError(f"modules_to_save: this model has no module {name!r}.")
    return _outermost(found)


def _outermost(paths: Sequence[str]) -> list[str]:
    """The modules that are in none of the others, as a module is copied with all that is in it."""
    return [path for path in paths if not any(path.startswith(f"{one}.") for one in paths)]
