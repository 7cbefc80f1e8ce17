"""Rotary embeddings whose angles depend on the longest document in a pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from brulee.models.hooks import Prefixes, owners
from brulee.models.text_part import text_modules


def changes_beyond(model: PreTrainedModel) -> int | None:
    """The number of positions beyond which the angles of the whole pass change; None if never.

    `longrope` (Ding et al. 2024) and `dynamic` scaling choose the angles by the longest document in
    the input, so a document longer than the original context length needs a pass of its own.
    """
    return min(_beginnings(model.config.get_text_config()).values(), default=None)


def unchanged_length(model: PreTrainedModel) -> int | None:
    """The longest document, after all prefixes, with the angles of a short one; None for any."""
    beyond = changes_beyond(model)
    return None if beyond is None else beyond - _before(model)


def changes_on(model: PreTrainedModel) -> bool:
    """Whether the angles go on changing with every further token."""
    return "dynamic" in _beginnings(model.config.get_text_config())


def read_alike(model: PreTrainedModel, lengths: Sequence[int]) -> dict[int | None, list[int]]:
    """Indices of documents that may share a pass, by the length to give to `angles_of`.

    None is for those with the angles of short documents.
    """
    beyond, steps = unchanged_length(model), changes_on(model)
    found: dict[int | None, list[int]] = {}
    for i, length in enumerate(lengths):
        near = beyond is None or length <= beyond
        far = length if steps else (beyond or 0) + 1
        found.setdefault(None if near else far, []).append(i)
    return found


@contextmanager
def angles_of(model: PreTrainedModel, length: int | None) -> Iterator[None]:
    """Inside this block, every pass has the angles of a document of `length` tokens.

    A long document can then be read in several passes. With None, nothing is changed.
    """
    rotating = [m for _, m in text_modules(model) if hasattr(m, "rope_type")] if length else []
    before = [({**vars(m)}, {n: b.clone() for n, b in m._buffers.items() if b is not None})
              for m in rotating]  # fmt: skip
    try:
        for module in rotating:
            _turn_to(module, (length or 0) + _before(model) - 1, model.device)
        yield
    finally:
        for module, (held, buffers) in zip(rotating, before, strict=True):
            vars(module).update(held)
            module._buffers.update(buffers)


def longest(config: PretrainedConfig) -> int | None:
    """The number of positions that a text's configuration allows; None if it has no limit.

    `dynamic` scaling keeps the original number in the configuration.
    """
    limit = getattr(config, "max_position_embeddings", None)
    if not limit or limit < 0:  # -1 in XLNet
        return None
    parts = _scalings(getattr(config, "rope_parameters", None) or {})
    factors = [p.get("factor") for p in parts if p.get("rope_type") == "dynamic"]
    return round(int(limit) * max((float(f) for f in factors if f), default=1.0))


def _turn_to(module: Any, position: int, device: torch.device) -> None:
    """Have a module choose its angles by the last position, and then keep them."""
    own = module.rope_type
    at, like = torch.tensor([[position]], device=device), torch.zeros(1, device=device)
    with torch.no_grad():
        if isinstance(own, dict):
            for kind in own:
                module(like, at, layer_type=kind)
        else:
            module(like, at)
    module.rope_type = dict.fromkeys(own, "default") if isinstance(own, dict) else "default"


def _before(model: nn.Module) -> int:
    """The positions that prefixes take."""
    prefixes: list[Prefixes] = owners(model, Prefixes)
    return sum(prefix.count for prefix in prefixes)


def _beginnings(config: Any) -> dict[str, int]:
    """The number of positions from which the angles change, by the kind of scaling."""
    found = {}
    for scaling in _scalings(getattr(config, "rope_parameters", None) or {}):
        kind = str(scaling.get("rope_type", "default"))
        if kind == "longrope":
            found[kind] = int(scaling["original_max_position_embeddings"])
        elif "dynamic" in kind:
            found["dynamic"] = int(config.max_position_embeddings)
    return found


def _scalings(parameters: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The scaling of the whole model, or that of each layer type."""
    if "rope_type" in parameters:
        yield parameters
    else:
        yield from (part for part in parameters.values() if isinstance(part, Mapping))
