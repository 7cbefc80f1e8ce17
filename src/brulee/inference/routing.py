"""Mixed-adapter batching: the base computes all tokens of a pass, each adapter corrects its own.

    tokens        a a a b b - c c        every token goes through the base's map once
    q_proj        W x
                  + B_a A_a x            then an adapter's rows are taken out, corrected, put back
                        + B_b A_b x
                              * l_c

The base's weights are read once per pass for all adapters, and the indices of each adapter's tokens
are built once for all layers. What an adapter does to a module is found by comparing its view of
the base (methods/swapping.py) with the base itself, module by module:

    a wrapped module (`Wrapper`)               what it does before and after the original
    a hook that adds a branch (`Adds`)         the branch
    its own parameters                         the whole module, for its rows only
    a prefix (`Prefixes`)                      positions; keys and values are in the cache by then

Low-rank corrections of several adapters are stacked: one product with all A's, masked to each
token's own adapter, and one with all B's.

The result is verified on a few tokens. An adapter that does anything else, or writes into the
base's memory, is rejected, and its requests get separate passes.

Shapes: `T` tokens of a pass, `H` query heads, `K` key heads, `D` head width, `P` a prefix's length.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from brulee.inference.reading import Pair, read
from brulee.inference.routed import Hook, Instead, Routed, Routes, UnroutableError
from brulee.inference.same_bits import ROWS
from brulee.methods.base import Attached
from brulee.methods.swapping import view_of
from brulee.methods.wrapping import Wrapper, put
from brulee.models.allocator import is_exhaustion
from brulee.models.hooks import Adds, Prefixes, Refreshes
from brulee.models.rounding_trial import coarsest, logits_only_round
from brulee.models.turns import turn

_TRIED = 2 * ROWS + 2  # tokens; no number of heads
_TRIAL = ""  # the name of an adapter while it is tried


@dataclass(frozen=True)
class Compared:
    """Logits in a shared pass, those that `model` computes alone, and a way to these again."""

    found: torch.Tensor
    alone: torch.Tensor
    model: PreTrainedModel
    again: Callable[[], torch.Tensor]

    def alike(self) -> bool:
        """Whether they differ by no more than rounding explains."""
        with turn(self.model):
            dtype = coarsest(self.model, self.found)
            return logits_only_round(self.found, self.alone, self.model, self.again, dtype)


@dataclass(frozen=True)
class Learned:
    """What an adapter does: (path, part, whether it is a hook), and positions that it reserves."""

    parts: tuple[tuple[str, Any, bool], ...]
    reserved: int


class Router:
    """A view of the base in which every token is computed with its own adapter.

    `names` are the adapters that can be mixed. Settings apply to the thread that holds the model's
    turn. `trial(router, base, name, view)` yields logits to compare for an adapter just added;
    without it, tokens are tried in a stream.
    """

    def __init__(
        self,
        plain: PreTrainedModel,
        trial: Callable[[Router, PreTrainedModel, str, PreTrainedModel], Iterable[Compared]]
        | None = None,
    ) -> None:
        self._plain, self._trial = plain, trial
        self.model = view_of(plain)
        self._routes = Routes()
        self._shifts: dict[str, int] = {}  # reserved positions before an adapter's documents
        self._hooks: dict[str, Hook] = {}

    @property
    def names(self) -> list[str]:
        """The adapters whose tokens can be mixed."""
        return list(self._shifts)

    def add(self, name: str, view: PreTrainedModel, attached: Attached) -> None:
        """Learn what an adapter does and mix its tokens; on UnroutableError nothing has changed."""
        self.put(name, self.learn(view, attached))

    def learn(self, view: PreTrainedModel, attached: Attached) -> Learned:
        """What an adapter does, verified. Raises UnroutableError if its tokens cannot be mixed."""
        if not attached.beside:
            raise UnroutableError("it writes into the base's memory")
        learned = Learned(tuple(_differences(self._plain, view)), attached.reserved)
        self.put(_TRIAL, learned)
        try:
            self._try(_TRIAL, view)
        finally:
            self.remove(_TRIAL)
        return learned

    def put(self, name: str, learned: Learned) -> None:
        """Mix an adapter's tokens from now on."""
        for path, part, hooked in learned.parts:
            (self._hooked if hooked else self._routed)(path).parts[name] = part
        self._shifts[name] = learned.reserved

    def remove(self, name: str) -> None:
        """Remove an adapter, and restore modules that no adapter changes any more."""
        self._shifts.pop(name, None)
        for path, hook in list(self._hooks.items()):
            hook.parts.pop(name, None)
            if not hook.parts:
                hook.off()
                del self._hooks[path]
        for path, module in list(self.model.named_modules()):
            if isinstance(module, Routed):
                module.forget(name)
                if not module.parts:
                    put(self.model, path, module.base_layer)

    @contextmanager
    def computing(self, names: Sequence[str | None], device: torch.device) -> Iterator[list[int]]:
        """In this block, `model` computes token i of a pass with adapter names[i].

        Yields the offset of each token's position.
        """
        with turn(self.model):
            self._routes.begin(names, device)
            try:
                yield [0 if name is None else self._shifts[name] for name in names]
            finally:
                self._routes.end()

    def _routed(self, path: str) -> Routed:
        module = self.model.get_submodule(path)
        if not isinstance(module, Routed):
            module = Routed(module, self._routes)
            put(self.model, path, module)
        return module

    def _hooked(self, path: str) -> Hook:
        if path not in self._hooks:
            module = self.model.get_submodule(path)
            own = module.base_layer if isinstance(module, Routed) else module
            self._hooks[path] = Hook(own, self._routes)
        return self._hooks[path]

    @torch.no_grad()
    def _try(self, name: str, view: PreTrainedModel) -> None:
        """Raise UnroutableError unless mixed tokens come out as they do alone."""
        try:
            for one in (
                self._in_a_stream(name, view)
                if self._trial is None
                else self._trial(self, self._plain, name, view)
            ):
                if not one.alike():
                    difference = (one.found - one.alone).abs().max()
                    raise UnroutableError(
                        f"a token comes out {difference:.2g} from what it is alone"
                    )
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            if is_exhaustion(error):
                raise
            raise UnroutableError(str(error)) from None

    def _in_a_stream(self, name: str, view: PreTrainedModel) -> Iterator[Compared]:
        """Every other token is the adapter's; each attends to itself only."""
        names = [name if at % 2 else None for at in range(_TRIED)]
        with self.computing(names, self._plain.device) as shifts:
            found = self._tokens(self.model, shifts)
        plain = self._plain
        yield Compared(found[0::2], self._of_base[0::2], plain, lambda: self._tokens(plain)[0::2])
        yield Compared(
            found[1::2], self._tokens(view)[1::2], view, lambda: self._tokens(view)[1::2]
        )

    @functools.cached_property
    def _of_base(self) -> torch.Tensor:
        return self._tokens(self._plain)

    @torch.no_grad()
    def _tokens(self, model: PreTrainedModel, shifts: Sequence[int] = ()) -> torch.Tensor:
        """Logits after some tokens at shifted positions, each attending to itself only."""
        device = model.device
        high = model.get_input_embeddings().weight.shape[0]
        ids = torch.randint(high, (_TRIED,), generator=torch.Generator().manual_seed(0))
        at = torch.arange(_TRIED, device=device)
        shift = torch.tensor(shifts or [0] * _TRIED, device=device)
        return read(model, ids.to(device), at + shift, _OwnValues(), at)


class _OwnValues:
    """Attention in which a token attends to itself only."""

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
        value = new[1][:, :, -query.shape[2] :].transpose(1, 2)
        # In the order that attention's output has in memory, of which some models take a view.
        return value.repeat_interleave(query.shape[1] // value.shape[2], dim=2).contiguous()


def _differences(plain: PreTrainedModel, view: PreTrainedModel) -> Iterator[tuple[str, Any, bool]]:
    """Where a view differs from the base: path, part, and whether it is a hook.

    Raises UnroutableError for a change that cannot be limited to some tokens.
    """
    for path, module in plain.named_modules():
        other = view.get_submodule(path)
        if isinstance(other, Wrapper):
            if list(module.children()) or not other.by_token:
                raise UnroutableError(f"{path!r} is wrapped, and is no single map")
            yield path, other, False
            continue
        if type(other) is not type(module):
            raise UnroutableError(f"{path!r} is a {type(other).__name__}")
        if any(name in vars(other) for name in other._parameters):
            if list(module.children()):
                raise UnroutableError(f"{path!r} has parameters of its own, and parts")
            yield path, Instead(other), False
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
