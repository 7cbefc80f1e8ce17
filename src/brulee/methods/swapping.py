"""Several adapters over one base in memory, one of them active.

    base.model ------ its weights, held once, never written to
        |                  ^    ^
        |   same tensors   |    |
        |        .---------'    |
        |     view "a"       view "b"     trees of modules around them, a megabyte or so each
        |        |               |
        |     adapter a       adapter b

A view is a copy of the model's modules around the base's own tensors, so that each method is
attached independently of the others, and selecting an adapter means selecting a view. An adapter
that is `beside` the base stays enabled in its view. A sparse mask's values are written into the
base's memory while it is active; meanwhile the other views compute wrong results, so it is disabled
when it is not active.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedModel

from brulee.errors import InputError, unknown
from brulee.methods.base import Attached, freeze
from brulee.methods.checkpoint import Adapter, attach_adapter, open_adapter
from brulee.models import languages
from brulee.models.loading import Base
from brulee.models.rope_scaling import check_alike


@dataclass
class AdapterView:
    """An adapter attached to its own view."""

    adapter: Adapter
    base: Base
    attached: Attached
    off: ExitStack


class Swap:
    """Named adapters over one base, for inference; `base` computes with the active one.

    Until `close`, the base's parameters are frozen; nothing else may be attached to it. `given`:
    the user gave the base its languages, which then are also those of adapters that name none.
    """

    def __init__(self, base: Base, given: bool = False) -> None:
        self._plain, self._given = base, base.languages if given else None
        self._thaw = freeze(base.model)
        self.pattern = view_of(
            base.model
        )  # views are copied from it, because nothing else computes with it
        self._held: dict[str, AdapterView] = {}
        self._current: str | None = None

    @property
    def names(self) -> list[str]:
        """The loaded adapters, in the order in which they were added."""
        return list(self._held)

    @property
    def current(self) -> str | None:
        """The active adapter; None: the plain base."""
        return self._current

    @property
    def base(self) -> Base:
        """The base with the active adapter."""
        return self._plain if self._current is None else self._held[self._current].base

    def view(self, name: str | None) -> tuple[Base, Attached | None]:
        """The base with an adapter, and that adapter; None: the plain base.

        If the adapter is `beside` the base, the view is valid while no other adapter is active,
        otherwise only while it is active itself. Raises InputError for an unknown name, with the
        nearest one.
        """
        if name is None:
            return self._plain, None
        if name not in self._held:
            raise unknown("adapter", name, self._held)
        return self._held[name].base, self._held[name].attached

    @property
    def attached(self) -> Attached | None:
        """The active adapter; its `prefix_ids` start every document."""
        return None if self._current is None else self._held[self._current].attached

    @property
    def adapter(self) -> Adapter | None:
        """The files of the active adapter, with its record of how prompts are framed."""
        return None if self._current is None else self._held[self._current].adapter

    def add(self, name: str, folder: Path) -> None:
        """Load one more adapter without activating it.

        Raises InputError for a name in use, and as `open_adapter` and `attach_adapter` do; the
        other adapters are then unaffected.
        """
        self.check_free(name)
        self.put(name, self.made(open_adapter(folder)))

    def put(self, name: str, held: AdapterView) -> None:
        """Add an adapter made by `made`. Raises InputError for a name in use."""
        self.check_free(name)
        self._held[name] = held

    def made(self, adapter: Adapter) -> AdapterView:
        """Attach an adapter to its own view, without adding or activating it.

        May run in another thread than the one that computes, one call at a time, unless this
        adapter or a loaded one writes into the base's memory. Raises InputError as `attach_adapter`
        does, and for an adapter whose base has its rotary positions scaled otherwise, or translates
        other languages.
        """
        mine, whose = self._plain.rope_scaling, f"the loaded base {self._plain.name!r}"
        check_alike(adapter.rope_scaling, mine, str(adapter.folder), whose)
        if adapter.says_languages(self._given):
            own = self._plain.languages
            languages.check_alike(adapter.languages, own, str(adapter.folder), whose)
        with self._nothing_in_force():
            view = replace(self._plain, model=view_of(self.pattern))
            held = AdapterView(adapter, view, attach_adapter(adapter, view), ExitStack())
            _switch_off(held)
        return held

    @property
    def beside(self) -> bool:
        """Whether no loaded adapter writes into the base's memory."""
        return all(held.attached.beside for held in list(self._held.values()))

    def check_free(self, name: str) -> None:
        """Raise InputError for a name in use."""
        if name in self._held:
            raise InputError(f"adapter {name!r} is already loaded; remove it first.")

    def use(self, name: str | None) -> Base:
        """Activate an adapter, or with None the plain base; returns the model to compute with.

        Raises InputError for an unknown name, with the nearest one.
        """
        if name is not None and name not in self._held:
            raise unknown("adapter", name, self._held)
        if name != self._current:
            self._switch_off(self._current)
            self._switch_on(name)
            self._current = name
        return self.base

    def remove(self, name: str) -> None:
        """Unload an adapter; if it was active, the plain base becomes active.

        Raises InputError for an unknown name.
        """
        if name not in self._held:
            raise unknown("adapter", name, self._held)
        if name == self._current:
            self.use(None)
        with self._nothing_in_force():
            self._switch_on(name)
            self._held.pop(name).attached.detach()

    def close(self) -> None:
        """Unload every adapter, and unfreeze the base."""
        for name in self.names:
            self.remove(name)
        for parameter in self._thaw:
            parameter.requires_grad_(True)
        self._thaw = []

    def _switch_on(self, name: str | None) -> None:
        if name is not None:
            self._held[name].off.close()

    def _switch_off(self, name: str | None) -> None:
        if name is not None:
            _switch_off(self._held[name])

    @contextmanager
    def _nothing_in_force(self) -> Iterator[None]:
        """Deactivate the current adapter: code inside needs the base's own values in memory."""
        self._switch_off(self._current)
        try:
            yield
        finally:
            self._switch_on(self._current)


def _switch_off(held: AdapterView) -> None:
    if not held.attached.beside:
        held.off.enter_context(held.attached.disabled())


def view_of(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of the model's modules around the same parameters and buffers."""
    shared = [*model.parameters(), *model.buffers()]
    # A quantised weight keeps its scales as an attribute of the parameter.
    shared += [value for tensor in shared for value in vars(tensor).values()]
    view: PreTrainedModel = copy.deepcopy(model, {id(held): held for held in shared})
    return view
