"""The layers of a model, their norms and their sub-layers, found by structure, not by name.

    stack      a list of similar layers; an encoder-decoder has two
    layer      attention and feed-forward, each next to a residual stream
    sub-layer  computes the branch that is added to the stream

Only attention, norms and, beside other modules, feed-forwards are recognised by class name, as
nothing else distinguishes them. What mixes tokens in another way (a state-space model, a gated
convolution) stands where attention does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from brulee.errors import InputError
from brulee.models.text_part import text_modules

_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_NORM = re.compile(r"norm", re.IGNORECASE)
# At the end, because a family's name may contain it (GraniteMoeHybridMambaLayer).
_FEED_FORWARD = re.compile(r"(mlp|moe|moe_?block|ffn|feed_?forward|experts)$", re.IGNORECASE)


@dataclass(frozen=True)
class Layer:
    """One layer: its path, and where its sub-layers begin and end.

    `attention` holds the self-attention, or what is in its place, and, in an encoder-decoder's
    decoder, the cross-attention. A feed-forward that is a module of its own has the same `first`
    and `last`; BART's is two linear layers in the layer itself. A layer may lack either: there are
    models of alternating layers of one sub-layer each (Nemotron-H), or without any feed-forward
    (Mamba). Of feed-forwards that are added up, `first` is one, and `several` is true.
    """

    path: str
    attention: tuple[str, ...]
    first: str | None
    last: str | None
    several: bool = False


def stacks(model: PreTrainedModel) -> dict[str, nn.ModuleList]:
    """The stacks of layers that text passes through, by module path.

    Raises InputError for a model that has none.
    """
    found: dict[str, nn.ModuleList] = {}
    for path, module in text_modules(model):
        inside = any(path.startswith(f"{outer}.") for outer in found)
        if not inside and isinstance(module, nn.ModuleList) and _are_layers(module):
            found[path] = module
    if not found:
        raise InputError(f"{type(model).__name__} has no stack of layers that can be found.")
    return found


def layers(model: PreTrainedModel) -> list[Layer]:
    """Every layer of every stack, from first to last.

    Raises InputError naming a layer whose attention and feed-forward cannot be told apart.
    """
    most = 2 if model.config.is_encoder_decoder else 1
    return [
        _layer(f"{path}.{i}", layer, most)
        for path, stack in stacks(model).items()
        for i, layer in enumerate(stack)
    ]


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a normalisation without submodules."""
    named = bool(_NORM.search(type(module).__name__)) and not any(module.children())
    return named and all(p.ndim == 1 for p in module.parameters(recurse=False))


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer; GPT-2's Conv1D is one."""
    return isinstance(module, nn.Linear | Conv1D)


def _are_layers(stack: nn.ModuleList) -> bool:
    return len(stack) > 0 and all(
        any(is_norm(m) for m in item.modules()) and any(is_linear(m) for m in item.modules())
        for item in stack
    )


def _layer(path: str, layer: nn.Module, most: int) -> Layer:
    """One layer, with at most so many attentions. Raises InputError if it has no such form."""
    found = dict(_sublayers(path, layer))
    attention = [n for n, m in found.items() if _ATTENTION.search(type(m).__name__)]
    rest = [n for n in found if n not in attention]
    named = [n for n in rest if _FEED_FORWARD.search(type(found[n]).__name__)]
    other = [n for n in rest if n not in named and not is_linear(found[n])]
    # Several linear layers directly in the layer form one feed-forward; several modules do not.
    own = [f"{path}.{name}" for name, child in layer.named_children() if is_linear(child)]
    feed_forward = named[:1]
    if not named and attention and (len(rest) == 1 or rest == own):
        feed_forward = rest
    elif not attention:
        attention = other
    told = (
        bool(found) and len(attention) <= most and (feed_forward or not rest or rest == attention)
    )
    if not told or any(isinstance(module, nn.ModuleList) for module in found.values()):
        raise InputError(
            f"method bottleneck: {path}: one attention and one feed-forward were expected in every "
            f"layer; found {', '.join(found) or 'neither'}."
        )
    first, last = (feed_forward[0], feed_forward[-1]) if feed_forward else (None, None)
    return Layer(path, tuple(attention), first, last, len(named) > 1)


def _sublayers(path: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        whole = f"{path}.{name}"
        if is_norm(child) or not any(p.ndim >= 2 for p in child.parameters()):
            continue
        # T5 wraps each sub-layer in a module that also applies the norm and adds the residual.
        wraps = any(is_norm(m) for m in child.modules()) and not any(
            is_linear(m) for m in child.children()
        )
        whole_by_name = bool(_FEED_FORWARD.search(type(child).__name__))
        if wraps and not is_linear(child) and not whole_by_name:
            yield from _sublayers(whole, child)
        else:
            yield whole, child
