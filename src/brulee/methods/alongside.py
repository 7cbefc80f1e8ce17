"""What is trained alongside any method that stores an adapter: rows of tokens, whole modules.

In the file of a LoRA they are PEFT's `trainable_token_indices` and `modules_to_save`. PEFT's other
methods, except IA3 the latter, would leave them out silently; so an adapter of theirs is then
stored under a `peft_type` that PEFT does not know.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.methods.base import Attached, Method, ParameterGroup, check_tensors
from brulee.methods.linear import weight_of
from brulee.methods.peft_config import FILE, PREFIX
from brulee.methods.row_tables import STORED, Table, check_free, leaf_of, wrapped
from brulee.methods.whole_modules import WholeModules, as_peft_names, named
from brulee.methods.wrapping import put
from brulee.models.added_tokens import tables_of

_ROWS = "trainable_token_indices"
_WHOLE = "modules_to_save"
# How PEFT calls a table whose rows are trained, when it stores that too.
_FROZEN = ("token_adapter.base_layer.weight", "token_adapter.weight", "original_module.weight")
_OURS = "BRULEE_"


@dataclass(frozen=True)
class Alongside:
    """Rows of tokens `ids` in every table, or of those in the tables `named`; and whole modules.

    `whole` are a recipe's names of modules, `saved` PEFT's.
    """

    ids: tuple[int, ...] = ()
    named: tuple[tuple[str, tuple[int, ...]], ...] = ()
    whole: tuple[str, ...] = ()
    saved: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Alongside:
        """What an adapter_config.json says. Raises InputError for a value of another form."""
        rows, saved = config.get(_ROWS) or [], config.get(_WHOLE) or []
        if not isinstance(saved, list) or not all(isinstance(name, str) for name in saved):
            raise InputError(f"{FILE}: {_WHOLE} = {saved!r} is not valid: it should list modules.")
        # A list: PEFT trains the rows of the input embedding, and of what shares its weight.
        tables = rows if isinstance(rows, dict) else {"": rows} if rows else {}
        ids = tuple((name, _ids(given)) for name, given in tables.items())
        return cls(named=ids, saved=tuple(saved))

    @property
    def every(self) -> frozenset[int]:
        """The ids of all trained rows."""
        return frozenset(self.ids).union(*(ids for _, ids in self.named))

    def __bool__(self) -> bool:
        return bool(self.ids or self.named or self.whole or self.saved)

    def attach(self, method: Method, model: PreTrainedModel, seed: int = 0) -> Attached:
        """Attach the method, and these alongside.

        Raises InputError as the method does, for a module or a token that the model lacks, and for
        what the method changes itself.
        """
        if not self:
            return method.attach(model, seed)
        whole = named(model, self.whole) + as_peft_names(model, self.saved)
        tables = self._tables(model, whole)
        attached = method.attach(model, seed)
        try:
            return _AlongsideAttached(model, attached, tables, whole)
        except InputError:
            attached.detach()
            raise

    def _tables(self, model: PreTrainedModel, whole: Collection[str]) -> list[Table]:
        """The tables with trained rows, each with all modules that share its weight.

        None of those that are trained whole anyway.
        """
        if not (self.ids or self.named):
            return []
        shared: dict[int, dict[str, nn.Module]] = {}
        head = model.get_output_embeddings()
        if head is not None and not isinstance(head, nn.Linear):
            raise InputError(
                f"method.train_tokens: the head of {type(model).__name__} is a "
                f"{type(head).__name__}, whose rows cannot be trained by themselves."
            )
        for path, module in tables_of(model).items():
            if not any(path == one or path.startswith(f"{one}.") for one in whole):
                shared.setdefault(id(module.weight), {})[path] = module
        found = []
        for modules in shared.values():
            ids = self.ids or self._named(model, modules)
            if ids:
                found.append(Table.of(model, modules, ids))
        known = {name for name, _ in self.named if any(_called(m, name) for m in shared.values())}
        for name, _ in self.named:
            if name and name not in known:
                valid = ", ".join(path for modules in shared.values() for path in modules)
                raise InputError(f"{FILE}: {_ROWS}: no table is called {name!r}; valid: {valid}.")
        return found

    def _named(self, model: PreTrainedModel, modules: Mapping[str, nn.Module]) -> tuple[int, ...]:
        words = model.get_input_embeddings()
        for name, ids in self.named:
            if _called(modules, name) if name else any(m is words for m in modules.values()):
                return ids
        return ()


NOTHING = Alongside()


def without(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the method alone."""
    kept = {key: value for key, value in config.items() if key not in (_ROWS, _WHOLE)}
    kind = str(kept.get("peft_type", "")).upper()
    # A method of PEFT's under a type that PEFT does not know.
    if (config.get(_ROWS) or config.get(_WHOLE)) and kind.removeprefix(_OURS) in _PEFTS:
        kept["peft_type"] = kind.removeprefix(_OURS)
    return kept


_PEFTS = ("LORA", "IA3", "PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING")


def _ids(given: Any) -> tuple[int, ...]:
    if not isinstance(given, list) or not all(type(i) is int and i >= 0 for i in given):
        raise InputError(f"{FILE}: {_ROWS} = {given!r} is not valid: it should list token ids.")
    return tuple(given)


def _called(modules: Mapping[str, nn.Module], name: str) -> bool:
    return any(path == name or path.endswith(f".{name}") for path in modules)


class _AlongsideAttached(Attached):
    """A method's `Attached`, whole modules, and rows around whatever it made of the tables."""

    def __init__(
        self,
        model: PreTrainedModel,
        attached: Attached,
        tables: Sequence[Table],
        whole: Sequence[str],
    ) -> None:
        self.model, self._own, self._tables = model, attached, tuple(tables)
        for table in tables:
            for path in table.paths:
                check_free(path, model.get_submodule(path))
        self._whole = WholeModules(model, whole, attached.parameters())
        self._rows = [nn.Parameter(table.start) for table in tables]
        self._wrappers = {
            path: wrapped(model.get_submodule(path), path, table, rows)
            for table, rows in zip(tables, self._rows, strict=True)
            for path in table.paths
        }
        for path, wrapper in self._wrappers.items():
            put(model, path, wrapper)
        self.prefix_ids, self.reserved = attached.prefix_ids, attached.reserved

    @property
    def beside(self) -> bool:
        return self._own.beside

    def groups(self) -> list[ParameterGroup]:
        # A row is no correction: decaying it to zero would not bring it closer to the base.
        rows = [ParameterGroup("tokens", tuple(self._rows), decay=False)] if self._rows else []
        return [*self._own.groups(), *self._whole.groups(), *rows]

    def replicated(self) -> list[nn.Parameter]:
        return [*self._own.replicated(), *self._whole.replicated(), *self._rows]

    def of_tokens(self) -> tuple[nn.Parameter, ...]:
        return (*self._own.of_tokens(), *self._whole.of_tokens(), *self._rows)

    def tensors(self) -> dict[str, torch.Tensor]:
        rows = {
            table.key: own.detach()[table.order].float().cpu().contiguous()
            for table, own in zip(self._tables, self._rows, strict=True)
        }
        whole = {k: t.float().cpu().contiguous() for k, t in self._whole.stored().items()}
        return {**self._own.tensors(), **whole, **rows}

    def config(self) -> dict[str, Any]:
        own = self._own.config()
        kind, saved = str(own["peft_type"]), list(self._whole.paths)
        known = kind == "LORA" or (kind == "IA3" and not self._tables)
        told: Any = {leaf_of(self.model, t.paths[0]): list(t.ids) for t in self._tables}
        if len(self._tables) == 1 and self._tables[0].words:
            told = list(self._tables[0].ids)
        return {
            **own,
            "peft_type": kind if known or kind.startswith(_OURS) else _OURS + kind,
            **({_ROWS: told} if self._tables else {}),
            **({_WHOLE: saved} if saved else {}),
        }

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        tensors = self._without_base(tensors)
        own = self._whole.stored() | {
            table.key: rows.detach() for table, rows in zip(self._tables, self._rows, strict=True)
        }
        given = {key: _cut(tensors[key], own[key]) for key in tensors if key in own}
        check_tensors(own, given)
        self._own.load({key: t for key, t in tensors.items() if key not in own})
        with torch.no_grad():
            self._whole.take({key: given[key] for key in self._whole.stored()})
            for table, rows in zip(self._tables, self._rows, strict=True):
                rows[table.order] = given[table.key].to(rows)

    def _without_base(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Drop frozen tables, and copies of shared rows, which PEFT may also store.

        Raises InputError for those of another base. Rows that are trained, and those past the end
        of this base's tables, do not matter.
        """
        given = dict(tensors)
        for table in self._tables:
            for path in table.paths:
                weight = weight_of(self._wrappers[path].base_layer).detach()
                if path != table.paths[0] and f"{PREFIX}{path}.{STORED}" in given:
                    _check_same(given, f"{PREFIX}{path}.{STORED}", given.get(table.key))
                for kept in _FROZEN:
                    _check_same(given, f"{PREFIX}{path}.{kept}", weight, table.index)
        return given

    @torch.no_grad()
    def merge(self) -> None:
        self._whole.check_fold()
        self._own.merge()
        self._whole.fold()
        for table, rows in zip(self._tables, self._rows, strict=True):
            for path in table.paths:
                weight = weight_of(self._wrappers[path].base_layer)
                weight.index_copy_(0, table.index, rows.to(weight.dtype))
        self._off()

    def detach(self) -> None:
        self._off()
        self._whole.off()
        self._own.detach()
        self.prefix_ids = self._own.prefix_ids

    def disabled(self) -> AbstractContextManager[None]:
        return self._disabled()

    @contextmanager
    def _disabled(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(self._own.disabled())
            stack.enter_context(self._whole.disabled())
            for wrapper in self._wrappers.values():
                wrapper.enabled = False
            try:
                yield
            finally:
                for wrapper in self._wrappers.values():
                    wrapper.enabled = True

    def _off(self) -> None:
        for path, wrapper in self._wrappers.items():
            put(self.model, path, wrapper.base_layer)
        self._wrappers = {}


def _cut(given: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """A table without rows past the last token, which some tools pad it with."""
    padded = given.ndim == own.ndim and len(given) > len(own) and given.shape[1:] == own.shape[1:]
    return given[: len(own)] if padded and own.ndim == 2 else given


def _check_same(
    given: dict[str, torch.Tensor],
    key: str,
    own: torch.Tensor | None,
    but: torch.Tensor | None = None,
) -> None:
    """Remove a tensor that is the base's own except in the rows `but`; refuse another."""
    if key not in given or own is None:
        return
    found = given.pop(key)
    rows = min(len(found), len(own))
    alike = torch.ones(rows, dtype=torch.bool, device=own.device)
    if but is not None:
        alike[but[but < rows]] = False
    if found.shape[1:] != own.shape[1:] or not torch.equal(
        found[:rows].to(own)[alike], own[:rows][alike]
    ):
        raise InputError(f"adapter: tensor {key!r} is not that of this base.")
