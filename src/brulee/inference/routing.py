"""Tokens of several adapters in one pass: the base computes all, each adapter corrects its own.

    tokens        a a a b b - c c        every token goes through the base's map once
    q_proj        W x
                  + B_a A_a x            then an adapter's rows are taken out, corrected, put back
                        + B_b A_b x
                              * l_c

The base's weights are read once a pass, whoever asks, and who owns which token is put into indices
once, for all layers. What an adapter does to a module is found by comparing its view of the base
(methods/swapping.py) with the base itself, module by module:

    another module in its place (`Wrapper`)    what it does before and after the original
    a hook that adds a branch (`Adds`)         the branch
    parameters of its own                      the whole module, for its rows alone
    a prefix (`Prefixes`)                      positions; keys and values are in the cache by then

What is found is tried on a few tokens before it is believed. An adapter that does anything else, or
writes into the base's memory, is refused, and answers its requests in passes of its own.

Shapes: `T` tokens of a pass, `N` tokens of one adapter, `D` width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn
from transformers import PreTrainedModel

from brulee.inference.reading import Pair, read
from brulee.inference.same_bits import ROWS, up
from brulee.methods.base import Attached
from brulee.methods.bottleneck_places import first_of, with_first
from brulee.methods.swapping import view_of
from brulee.methods.wrapping import Wrapper, put
from brulee.models.hooks import Adds, Prefixes, Refreshes
from brulee.models.turns import turn


class UnroutableError(Exception):
    """An adapter, or a model, whose tokens cannot go through a pass beside those of others."""


class Part(Protocol):
    """What an adapter does to the rows (N, D) of one module."""

    def before(self, x: torch.Tensor) -> torch.Tensor:
        """What the base's module is given instead of x."""

    def after(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """What stands in for what the base's module made of that."""


@dataclass(frozen=True)
class Owned:
    """Tokens of one adapter: their places (N) in a pass, and the same filled up to full rows."""

    name: str
    places: torch.Tensor
    filled: torch.Tensor

    @classmethod
    def at(cls, name: str, places: Sequence[int], device: torch.device) -> Owned:
        """Filled up, because the bits of a product depend on how few rows it has."""
        spare = up(len(places)) - len(places)
        own = torch.tensor(places, device=device)
        return cls(name, own, torch.cat([own, own[:1].expand(spare)]))


@dataclass
class Routes:
    """Which tokens of the pass that is being computed belong to whom; the base's to nobody."""

    tokens: int = 0
    owned: Sequence[Owned] = field(default_factory=tuple)

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        """The tokens of x, (1, T, ...) or (T, ...), as (T, ...) in the same memory.

        Raises UnroutableError where they are not to be told apart.
        """
        if x.ndim >= 3 and x.shape[:2] == (1, self.tokens):
            return x[0]
        if x.shape[0] == self.tokens:
            return x
        if x.shape[:2] == (1, self.tokens):  # ids
            return x[0]
        raise UnroutableError(f"{tuple(x.shape)} is not {self.tokens} tokens")


class Router:
    """A view of the base in which every token is computed as the adapter that it belongs to does.

    `names` are those that can be mixed. Whatever is in force is so for the thread that holds the
    model's turn.
    """

    def __init__(self, plain: PreTrainedModel) -> None:
        self._plain = plain
        self.model = view_of(plain)
        self._routes = Routes()
        self._shifts: dict[str, int] = {}  # positions that stand before an adapter's documents
        self._hooks: dict[str, _Hook] = {}

    @property
    def names(self) -> list[str]:
        """The adapters whose tokens can be mixed."""
        return list(self._shifts)

    def add(self, name: str, view: PreTrainedModel, attached: Attached) -> None:
        """Learn what an adapter does. Raises UnroutableError, and then has learned nothing."""
        if not attached.beside:
            raise UnroutableError("it writes into the base's memory")
        for path, part, hooked in _differences(self._plain, view):
            (self._hooked if hooked else self._routed)(path).parts[name] = part
        self._shifts[name] = attached.reserved
        try:
            self._try(name, view)
        except UnroutableError:
            self.remove(name)
            raise

    def remove(self, name: str) -> None:
        """Forget an adapter; what nobody changes any more is the base's own again."""
        self._shifts.pop(name, None)
        for path, hook in list(self._hooks.items()):
            hook.parts.pop(name, None)
            if not hook.parts:
                hook.off()
                del self._hooks[path]
        for path, module in list(self.model.named_modules()):
            if isinstance(module, Routed):
                module.parts.pop(name, None)
                if not module.parts:
                    put(self.model, path, module.base_layer)

    @contextmanager
    def computing(self, names: Sequence[str | None], device: torch.device) -> Iterator[list[int]]:
        """In this block `model` computes token i of a pass as names[i] does.

        Gives what is to be added to each token's position.
        """
        places: dict[str, list[int]] = {}
        for at, name in enumerate(names):
            if name is not None:
                places.setdefault(name, []).append(at)
        with turn(self.model):
            self._routes.tokens = len(names)
            self._routes.owned = [Owned.at(name, at, device) for name, at in places.items()]
            try:
                yield [0 if name is None else self._shifts[name] for name in names]
            finally:
                self._routes.owned = ()

    def _routed(self, path: str) -> Routed:
        module = self.model.get_submodule(path)
        if not isinstance(module, Routed):
            module = Routed(module, self._routes)
            put(self.model, path, module)
        return module

    def _hooked(self, path: str) -> _Hook:
        if path not in self._hooks:
            module = self.model.get_submodule(path)
            own = module.base_layer if isinstance(module, Routed) else module
            self._hooks[path] = _Hook(own, self._routes)
        return self._hooks[path]

    @torch.no_grad()
    def _try(self, name: str, view: PreTrainedModel) -> None:
        """Every other token is the adapter's, none sees another: each as it comes out alone."""
        device = next(self._plain.parameters()).device
        high = self._plain.get_input_embeddings().weight.shape[0]
        draw = torch.Generator().manual_seed(0)
        ids = torch.randint(high, (2 * ROWS,), generator=draw).to(device)
        positions = torch.arange(2 * ROWS, device=device)
        asked = torch.arange(2 * ROWS, device=device)
        names = [name if at % 2 else None for at in range(2 * ROWS)]
        try:
            with self.computing(names, device) as shifts:
                shifted = positions + torch.tensor(shifts, device=device)
                found = read(self.model, ids, shifted, _OwnValues(), asked)
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            raise UnroutableError(str(error)) from None
        for model, own in ((self._plain, slice(0, None, 2)), (view, slice(1, None, 2))):
            alone = read(model, ids, positions, _OwnValues(), asked)[own]
            tolerance = 1e-3 if alone.dtype == torch.float32 else 0.05
            difference = (found[own] - alone).abs().max()
            if not difference <= tolerance * alone.abs().max():
                raise UnroutableError(f"a token comes out {difference:.2g} from what it is alone")


class Routed(nn.Module):
    """A module of the base, and what adapters make of it for the tokens that are theirs."""

    def __init__(self, base_layer: nn.Module, routes: Routes) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.parts: dict[str, Part] = {}
        self._routes = routes

    def __getattr__(self, name: str) -> Any:
        """Of the module itself what it is asked for: its weight, its sizes."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_layer"), name)

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """X (1, T, ...) -> what the base's module makes of it, corrected row by row."""
        routes = self._routes
        owned = [one for one in routes.owned if one.name in self.parts]
        if not owned:
            plain: torch.Tensor = self.base_layer(x, *args, **kwargs)
            return plain
        given = [routes.rows(x).index_select(0, one.filled) for one in owned]
        changed = self._before(x, owned, given)
        out: torch.Tensor = self.base_layer(changed, *args, **kwargs)
        rows = routes.rows(out)
        for one, own in zip(owned, given, strict=True):
            made = self.parts[one.name].after(own, rows.index_select(0, one.filled))
            rows.index_copy_(0, one.places, made[: len(one.places)])
        return out

    def _before(
        self, x: torch.Tensor, owned: Sequence[Owned], given: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        changed = x
        for one, own in zip(owned, given, strict=True):
            made = self.parts[one.name].before(own)
            if made is not own:
                changed = x.clone() if changed is x else changed
                self._routes.rows(changed).index_copy_(0, one.places, made[: len(one.places)])
        return changed


class _Hook:
    """Branches that adapters add to what a module gives."""

    def __init__(self, module: nn.Module, routes: Routes) -> None:
        self.parts: dict[str, Adds] = {}
        self._routes = routes
        self._handle = module.register_forward_hook(self._add, with_kwargs=True)

    def off(self) -> None:
        """Take it off."""
        self._handle.remove()

    def _add(
        self, _module: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any], output: Any
    ) -> Any:
        owned = [one for one in self._routes.owned if one.name in self.parts]
        if not owned:
            return output
        x = self._routes.rows(inputs[0] if inputs else next(iter(named.values())))
        total = first_of(output).clone()  # it may be what the module was given
        rows = self._routes.rows(total)
        for one in owned:
            own, made = (side.index_select(0, one.filled) for side in (x, rows))
            added = self.parts[one.name].added(own, made)
            rows.index_copy_(0, one.places, added[: len(one.places)])
        return with_first(output, total)


class _Instead:
    """A module of an adapter's view that stands for the base's, with parameters of its own."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def before(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def after(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        made: torch.Tensor = self._module(x)
        return made


class _OwnValues:
    """Attention in which a token sees itself alone."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        new: Pair,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        """The token's own values: query (1, H, T, D), values (1, K, P + T, D); (1, T, H, D)."""
        del layer, scaling, window
        value = new[1][:, :, -query.shape[2] :]
        return value.repeat_interleave(query.shape[1] // value.shape[1], dim=1).transpose(1, 2)


def _differences(plain: PreTrainedModel, view: PreTrainedModel) -> Iterator[tuple[str, Any, bool]]:
    """Where a view does anything else than the base: path, part, and whether it is a hook.

    Raises UnroutableError for what cannot be done to some tokens alone.
    """
    for path, module in plain.named_modules():
        other = view.get_submodule(path)
        if isinstance(other, Wrapper):
            if list(module.children()):
                raise UnroutableError(f"{path!r} is wrapped, and is no single map")
            yield path, other, False
            continue
        if type(other) is not type(module):
            raise UnroutableError(f"{path!r} is a {type(other).__name__}")
        if any(name in vars(other) for name in other._parameters):
            if list(module.children()):
                raise UnroutableError(f"{path!r} has parameters of its own, and parts")
            yield path, _Instead(other), False
        before = len(module._forward_hooks)
        for hook in list(other._forward_hooks.values())[before:]:
            if not isinstance(hook, Adds):
                raise UnroutableError(f"{path!r} has a hook that does not say what it adds")
            yield path, hook, True
        _check_before(path, module, other)


def _check_before(path: str, module: nn.Module, other: nn.Module) -> None:
    before = len(module._forward_pre_hooks)
    for hook in list(other._forward_pre_hooks.values())[before:]:
        owner = getattr(hook, "__self__", None)
        if not isinstance(owner, Prefixes | Refreshes):
            raise UnroutableError(f"{path!r} has a hook that may change what it is given")
