"""Where a bottleneck reads and writes: hooks on a layer's own modules; no module is replaced.

    houlsby    h = sub-layer(x);  stream + h + f(h)            after attention and feed-forward
    pfeiffer   h = feed-forward(x);  stream + h + f(stream + h)
    parallel   h = feed-forward(x);  stream + h + f(x)

Where a layer has something else in the place of attention, such as a state-space model, that is
meant; a layer that lacks the sub-layer has no adapter there. In post-norm layers (BART), pfeiffer's
f reads the normed sum, and its output is added before that norm. This follows the papers, which use
post-norm layers, and the library `adapters`, which extends them to pre-norm layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from brulee.methods.stacks import Layer, is_norm, layers

Handles = list[RemovableHandle]


class After:
    """A forward hook that adds `branch(h)` to its module's output h."""

    def __init__(self, branch: nn.Module) -> None:
        self.branch = branch

    def __call__(self, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        """The module's new output."""
        h = first_of(output)
        return with_first(output, self.added(h, h))

    def added(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """The sum of h and its branch."""
        total: torch.Tensor = h + self.branch(h)
        return total


class Beside:
    """A forward hook that adds `branch(x)` to its module's output, x being its input."""

    def __init__(self, branch: nn.Module) -> None:
        self.branch = branch

    def __call__(
        self, _module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any
    ) -> Any:
        """The module's new output."""
        x = inputs[0] if inputs else next(iter(named.values()))
        return with_first(output, self.added(x, first_of(output)))

    def added(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """The sum of h and the branch of x."""
        total: torch.Tensor = h + self.branch(x)
        return total


class BesideBoth:
    """Adds `branch(x)` to the output of the last of two modules, x being the input of the first."""

    def __init__(self, branch: nn.Module) -> None:
        self.branch = branch
        self._given: list[torch.Tensor] = []

    def take(self, _module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Keep the first module's input."""
        self._given = [inputs[0] if inputs else next(iter(named.values()))]

    def __call__(self, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        """The last module's new output."""
        return with_first(output, self.added(self._given.pop(), first_of(output)))

    def added(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """The sum of h and the branch of x."""
        total: torch.Tensor = h + self.branch(x)
        return total


class BeforeNorm:
    """A forward hook on a norm that returns norm(z + branch(norm(z))) for input z."""

    def __init__(self, branch: nn.Module) -> None:
        self.branch = branch
        self._inside = False

    def __call__(self, norm: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> Any:
        """The norm's new output."""
        if self._inside:
            return output
        self._inside = True
        try:
            return norm(self.again(inputs[0], output))
        finally:
            self._inside = False

    def again(self, z: torch.Tensor, normed: torch.Tensor) -> torch.Tensor:
        """The input of the second norm."""
        total: torch.Tensor = z + self.branch(normed)
        return total


def after(module: nn.Module, branch: nn.Module) -> Handles:
    """Add `branch(h)` to the module's output h."""
    return [module.register_forward_hook(After(branch))]


def beside(first: nn.Module, last: nn.Module, branch: nn.Module) -> Handles:
    """Add `branch(x)` to the output of `last`, x being the input of `first`."""
    if first is last:
        return [last.register_forward_hook(Beside(branch), with_kwargs=True)]
    both = BesideBoth(branch)
    return [
        first.register_forward_pre_hook(both.take, with_kwargs=True),
        last.register_forward_hook(both),
    ]


def before_norm(norm: nn.Module, branch: nn.Module) -> Handles:
    """Make the norm return norm(z + branch(norm(z))) for its input z."""
    return [norm.register_forward_hook(BeforeNorm(branch))]


@torch.no_grad()
def last_norms(model: PreTrainedModel) -> dict[str, nn.Module]:
    """The norm at the end of each post-norm layer, by the layer's path; pre-norm layers have none.

    Tried on four tokens: a layer ends with a norm if its output is the norm's output.
    """
    found: dict[str, nn.Module] = {}
    normed: dict[int, tuple[nn.Module, torch.Tensor]] = {}

    def of_norm(norm: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        normed[id(output)] = (norm, output)

    def of_layer(path: str) -> Callable[..., None]:
        def hook(_layer: nn.Module, _inputs: Any, output: Any) -> None:
            norm, _ = normed.get(id(first_of(output)), (None, None))
            if norm is not None:
                found[path] = norm
            normed.clear()

        return hook

    handles: Handles = []
    for layer in layers(model):
        module = model.get_submodule(layer.path)
        handles += [m.register_forward_hook(of_norm) for m in module.modules() if is_norm(m)]
        handles.append(module.register_forward_hook(of_layer(layer.path)))
    with _removed(handles), _evaluating(model):
        ids = torch.arange(4, device=model.get_input_embeddings().weight.device).unsqueeze(0)
        more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
        model(input_ids=ids, use_cache=False, **more)
    return found


def sublayers(layer: Layer, cross_attention: bool) -> dict[str, str]:
    """The sub-layers after which houlsby adds an adapter, by their names in a stored adapter."""
    named = {} if not layer.attention else {"attention": layer.attention[0]}
    if layer.last is not None:
        named["feed_forward"] = layer.last
    if cross_attention:
        named |= {f"cross_attention_{i}": p for i, p in enumerate(layer.attention[1:])}
    return named


def first_of(output: Any) -> torch.Tensor:
    """The hidden states in a module's output: alone, or the first of a tuple or a list (GPT)."""
    tensor = output[0] if isinstance(output, tuple | list) else output
    assert isinstance(tensor, torch.Tensor), "hidden states come first"
    return tensor


def with_first(output: Any, first: torch.Tensor) -> Any:
    """A module's output with its hidden states replaced."""
    return (first, *output[1:]) if isinstance(output, tuple | list) else first


@contextmanager
def _removed(handles: Handles) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
