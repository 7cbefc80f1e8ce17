"""A module of the base with the changes of several adapters, each applied to its own tokens.

Shapes: `T` tokens of a pass, `N` tokens of one adapter, `D` width, `I` inputs, `O` outputs, `R` one
adapter's rank, `S` the ranks of several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from brulee.inference.on_device import on_device
from brulee.inference.same_bits import up
from brulee.methods.bottleneck_places import first_of, with_first
from brulee.methods.lora_layer import LoRALinear
from brulee.models.hooks import Adds


class UnroutableError(Exception):
    """Raised for an adapter or a model whose tokens cannot share a pass with others."""


class Part(Protocol):
    """What an adapter does to the rows (N, D) of one module."""

    def before(self, x: torch.Tensor) -> torch.Tensor:
        """The input of the base's module, in place of x."""

    def after(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """The output, in place of the base module's `out`."""


@dataclass(frozen=True)
class Owned:
    """Tokens of one adapter: their places (N) in a pass, and the same padded to a full block."""

    name: str
    places: torch.Tensor
    filled: torch.Tensor

    @classmethod
    def at(cls, name: str, places: Sequence[int], device: torch.device) -> Owned:
        """Padded, because a product's rounding depends on its number of rows if that is small."""
        spare = up(len(places)) - len(places)
        own = on_device(places, device)
        return cls(name, own, torch.cat([own, own[:1].expand(spare)]))


@dataclass
class Routes:
    """Which tokens of the current pass belong to which adapter; the base's belong to none."""

    tokens: int = 0
    owned: Sequence[Owned] = field(default_factory=tuple)
    _masks: dict[tuple[Any, ...], torch.Tensor] = field(default_factory=dict)

    def begin(self, names: Sequence[str | None], device: torch.device) -> None:
        """Prepare a pass whose token i belongs to adapter names[i]."""
        places: dict[str, list[int]] = {}
        for at, name in enumerate(names):
            if name is not None:
                places.setdefault(name, []).append(at)
        self.tokens, self._masks = len(names), {}
        self.owned = [Owned.at(name, at, device) for name, at in places.items()]

    def end(self) -> None:
        """Forget the pass."""
        self.owned, self._masks = (), {}

    def mask(self, names: Sequence[str], ranks: Sequence[int], like: torch.Tensor) -> torch.Tensor:
        """(T, S): one where token and column belong to the same adapter, else zero."""
        key = (*names, *ranks, like.dtype)
        if key not in self._masks:
            mask_TS = like.new_zeros(self.tokens, sum(ranks))
            own, start = {one.name: one for one in self.owned}, 0
            for name, rank in zip(names, ranks, strict=True):
                mask_TS[own[name].places, start : start + rank] = 1
                start += rank
            self._masks[key] = mask_TS
        return self._masks[key]

    def rows(self, x: torch.Tensor, turned: bool = False) -> torch.Tensor:
        """The tokens of x, (1, T, ...), (T, 1, ...) or (T, ...), as (T, ...) in the same memory.

        Those of `turned` heads, (1, H, T, D), come after the heads; of a single head (DeepSeek),
        they always do. Raises UnroutableError if x does not have one row per token.
        """
        if turned:
            return x[0].transpose(0, 1)
        if x.ndim == 4 and x.shape[:3] == (1, 1, self.tokens):
            return x[0, 0]
        if x.ndim >= 3 and x.shape[:2] == (1, self.tokens):
            return x[0]
        # A trailing 1 is a sequence length only with a width after it, or for ids.
        if x.shape[:2] == (self.tokens, 1) and (x.ndim >= 3 or not x.is_floating_point()):
            return x[:, 0]
        if x.shape[0] == self.tokens:
            return x
        if x.shape[:2] == (1, self.tokens):  # ids
            return x[0]
        raise UnroutableError(
            f"a module that it changes takes values of shape {tuple(x.shape)}, which are not a row "
            f"for each of {self.tokens} tokens"
        )


class Routed(nn.Module):
    """A module of the base, with adapters' changes for their own tokens."""

    def __init__(self, base_layer: nn.Module, routes: Routes) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.parts: dict[str, Part] = {}
        self._routes = routes
        self._stacked_of: tuple[Any, ...] = ()
        self._stacks: list[_Stack] = []

    def forget(self, name: str) -> None:
        """Remove an adapter's change."""
        self.parts.pop(name, None)
        self._stacked_of, self._stacks = (), []

    def __getattr__(self, name: str) -> Any:
        """Delegate other attributes to the module: its weight, its sizes."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_layer"), name)

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """X (1, T, ...) -> the base module's output, corrected row by row."""
        routes = self._routes
        owned = [one for one in routes.owned if one.name in self.parts]
        if not owned:
            plain: torch.Tensor = self.base_layer(x, *args, **kwargs)
            return plain
        stacks = self._stacks_of(owned, x.dtype)
        stacked = {name for stack in stacks for name in stack.names}
        others = [one for one in owned if one.name not in stacked]
        turned = True in [_turned(self.parts[one.name], x, routes.tokens) for one in owned]
        given = [routes.rows(x, turned).index_select(0, one.filled) for one in others]
        out: torch.Tensor = self.base_layer(self._before(x, others, given), *args, **kwargs)
        rows = routes.rows(out, turned)
        for stack in stacks:
            stack.add(routes.rows(x), rows, routes)
        for one, own in zip(others, given, strict=True):
            made = self.parts[one.name].after(own, rows.index_select(0, one.filled))
            rows.index_copy_(0, one.places, made[: len(one.places)])
        return out

    def _stacks_of(self, owned: Sequence[Owned], dtype: torch.dtype) -> list[_Stack]:
        """Low-rank corrections of these adapters, cached until others are requested."""
        low = {one.name: part for one in owned if (part := _low_rank(self.parts[one.name]))}
        key = (dtype, *((name, id(part)) for name, part in low.items()))
        if key != self._stacked_of:
            scales = dict.fromkeys(part.scale for part in low.values())
            alike = [{n: p for n, p in low.items() if p.scale == scale} for scale in scales]
            self._stacks = [_Stack(parts, dtype) for parts in alike if len(parts) > 1]
            self._stacked_of = key
        return self._stacks

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


class _Stack:
    """Low-rank corrections of one scale: A (S, I) one under the other, B (O, S) side by side."""

    def __init__(self, parts: Mapping[str, LoRALinear], dtype: torch.dtype) -> None:
        self.names = list(parts)
        factors = [part.factors() for part in parts.values()]
        self._ranks = [len(a_RI) for a_RI, _ in factors]
        self._scale = next(iter(parts.values())).scale
        self._a_SI = torch.cat([a_RI.to(dtype) for a_RI, _ in factors])
        self._b_OS = torch.cat([b_OR.to(dtype) for _, b_OR in factors], dim=1)

    def add(self, x_TI: torch.Tensor, out_TO: torch.Tensor, routes: Routes) -> None:
        """Add to every token its own adapter's correction."""
        h_TS = F.linear(x_TI, self._a_SI).mul_(routes.mask(self.names, self._ranks, x_TI))
        out_TO.addmm_(h_TS, self._b_OS.T, alpha=self._scale)


def _low_rank(part: Part) -> LoRALinear | None:
    """The part, if it only adds a low-rank correction."""
    if isinstance(part, LoRALinear) and part.lora_magnitude_vector is None:
        return part
    return None


def _turned(part: Part, x: torch.Tensor, tokens: int) -> bool:
    return isinstance(part, Instead) and part.turned(x, tokens)


class Hook:
    """Branches that adapters add to a module's output."""

    def __init__(self, module: nn.Module, routes: Routes) -> None:
        self.parts: dict[str, Adds] = {}
        self._routes = routes
        self._handle = module.register_forward_hook(self._add, with_kwargs=True)

    def off(self) -> None:
        """Remove the hook."""
        self._handle.remove()

    def _add(
        self, _module: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any], output: Any
    ) -> Any:
        owned = [one for one in self._routes.owned if one.name in self.parts]
        if not owned:
            return output
        x = self._routes.rows(inputs[0] if inputs else next(iter(named.values())))
        total = first_of(output).clone()  # it may be the module's input
        rows = self._routes.rows(total)
        for one in owned:
            own, made = (side.index_select(0, one.filled) for side in (x, rows))
            added = self.parts[one.name].added(own, made)
            rows.index_copy_(0, one.places, added[: len(one.places)])
        return with_first(output, total)


class Instead:
    """A module of an adapter's view that replaces the base's, with its own parameters."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._turned = False

    def turned(self, x: torch.Tensor, tokens: int) -> bool:
        """Whether x has heads before tokens, as for a norm of heads; remembered.

        When an adapter is tried, there are more tokens than heads; later they may be as many.
        """
        if x.ndim != 4 or x.shape[0] != 1:
            return False
        if (x.shape[1] == tokens) != (x.shape[2] == tokens):
            self._turned = x.shape[2] == tokens
        return self._turned

    def before(self, x: torch.Tensor) -> torch.Tensor:
        """X itself."""
        return x

    def after(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """The module's output for x."""
        made: torch.Tensor = self._module(x)
        return made
