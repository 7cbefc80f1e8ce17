"""Several adapters over one base in memory, one of them in force.

    base.model ------ its weights, held once, never written to
        |                  ^    ^
        |   same tensors   |    |
        |        .---------'    |
        |     view "a"       view "b"     trees of modules around them, a megabyte or so each
        |        |               |
        |     adapter a       adapter b

A view is the model once more: modules of its own around the very tensors of the base. So every
method can be put on without knowing of the others, and to choose is to name a view. An adapter that
computes beside the base is always on in its view. A mask's chosen values stand in the base's memory
while it is in force; it is switched off when it is not, and while it is on no other view computes
what is its own.
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
from brulee.models.loading import Base


@dataclass
class Held:
    """An adapter in a view of its own."""

    adapter: Adapter
    base: Base
    attached: Attached
    off: ExitStack


class Swap:
    """Adapters by name over one base, for inference; `base` is what computes with the one in force.

    Takes over the gradients of the given base, which must have nothing attached, until `close`.
    """

    def __init__(self, base: Base) -> None:
        self._plain = base
        self._thaw = freeze(base.model)
        self.pattern = view_of(
            base.model
        )  # views are copies of it, as nobody else computes with it
        self._held: dict[str, Held] = {}
        self._current: str | None = None

    @property
    def names(self) -> list[str]:
        """The adapters held, in the order in which they came."""
        return list(self._held)

    @property
    def current(self) -> str | None:
        """The adapter in force; None: the base as it is."""
        return self._current

    @property
    def base(self) -> Base:
        """The base as the adapter in force makes it compute."""
        return self._plain if self._current is None else self._held[self._current].base

    def view(self, name: str | None) -> tuple[Base, Attached | None]:
        """The base as an adapter makes it compute, and what makes it; None: the base as it is.

        Right while nothing is in force, if the adapter is `beside` the base; else while it is in
        force. Raises InputError for a name that is not held, with the nearest.
        """
        if name is None:
            return self._plain, None
        if name not in self._held:
            raise unknown("adapter", name, self._held)
        return self._held[name].base, self._held[name].attached

    @property
    def attached(self) -> Attached | None:
        """What is in force; its `prefix_ids` begin every document."""
        return None if self._current is None else self._held[self._current].attached

    @property
    def adapter(self) -> Adapter | None:
        """The files of the adapter in force, with its record of how prompts are framed."""
        return None if self._current is None else self._held[self._current].adapter

    def add(self, name: str, folder: Path) -> None:
        """Hold one more adapter, not yet in force.

        Raises InputError for a name that is taken, and as `open_adapter` and `attach_adapter` do;
        the others are then as they were.
        """
        self.check_free(name)
        self.put(name, self.made(open_adapter(folder)))

    def put(self, name: str, held: Held) -> None:
        """Hold what was made. Raises InputError for a name that is taken."""
        self.check_free(name)
        self._held[name] = held

    def made(self, adapter: Adapter) -> Held:
        """An adapter in a view of its own, not held yet and not in force.

        May be made in a thread beside the one that computes, one at a time, unless it or one that
        is held writes into the base's memory. Raises InputError as `attach_adapter` does.
        """
        with self._nothing_in_force():
            view = replace(self._plain, model=view_of(self.pattern))
            held = Held(adapter, view, attach_adapter(adapter, view), ExitStack())
            _switch_off(held)
        return held

    @property
    def beside(self) -> bool:
        """Whether none that is held writes into the base's memory."""
        return all(held.attached.beside for held in list(self._held.values()))

    def check_free(self, name: str) -> None:
        """Raise InputError for a name that is taken."""
        if name in self._held:
            raise InputError(f"adapter {name!r} is already loaded; remove it first.")

    def use(self, name: str | None) -> Base:
        """Put an adapter in force, or with None the base as it is; returns what then computes.

        Raises InputError for a name that is not held, with the nearest.
        """
        if name is not None and name not in self._held:
            raise unknown("adapter", name, self._held)
        if name != self._current:
            self._switch_off(self._current)
            self._switch_on(name)
            self._current = name
        return self.base

    def remove(self, name: str) -> None:
        """Let go of an adapter; where it was in force, the base is.

        Raises InputError for a name that is not held.
        """
        if name not in self._held:
            raise unknown("adapter", name, self._held)
        if name == self._current:
            self.use(None)
        with self._nothing_in_force():
            self._switch_on(name)
            self._held.pop(name).attached.detach()

    def close(self) -> None:
        """Let go of every adapter, and give the base its gradients back."""
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
        """What reads the base's memory, or writes to it, must find the base's own values there."""
        self._switch_off(self._current)
        try:
            yield
        finally:
            self._switch_on(self._current)


def _switch_off(held: Held) -> None:
    if not held.attached.beside:
        held.off.enter_context(held.attached.disabled())


def view_of(model: PreTrainedModel) -> PreTrainedModel:
    """The model's modules once more, around the same parameters and buffers."""
    shared = [*model.parameters(), *model.buffers()]
    # A quantised weight keeps its scales as an attribute of the parameter.
    shared += [value for tensor in shared for value in vars(tensor).values()]
    view: PreTrainedModel = copy.deepcopy(model, {id(held): held for held in shared})
    return view
