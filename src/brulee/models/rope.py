"""Rotary embeddings whose angles depend on the longest document in a pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from transformers import PreTrainedModel


def changes_beyond(model: PreTrainedModel) -> int | None:
    """The document length beyond which the angles of the whole pass change; None if they never do.

    `longrope` (Ding et al. 2024) and `dynamic` scaling choose the angles by the longest document in
    the input, so a document longer than the original context length needs a pass of its own.
    """
    config = model.config.get_text_config()
    found: list[int] = []
    for scaling in _scalings(getattr(config, "rope_parameters", None) or {}):
        kind = str(scaling.get("rope_type", "default"))
        if kind == "longrope":
            found.append(int(scaling["original_max_position_embeddings"]))
        elif "dynamic" in kind:
            found.append(int(config.max_position_embeddings))
    return min(found, default=None)


def _scalings(parameters: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The scaling of the whole model, or that of each layer type."""
    if "rope_type" in parameters:
        yield parameters
    else:
        yield from (part for part in parameters.values() if isinstance(part, Mapping))
