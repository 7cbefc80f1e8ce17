"""Rotary positions whose angles depend on the longest document that a pass holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from transformers import PreTrainedModel


def changes_beyond(model: PreTrainedModel) -> int | None:
    """The length of a document beyond which all angles of its pass are others, None for none.

    `longrope` (Ding et al. 2024) and `dynamic` scaling choose their angles by the longest document
    of what they are given, so that one that is longer than the model was first trained with must
    have a pass to itself.
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
    """One for the whole model, or one for each kind of layer."""
    if "rope_type" in parameters:
        yield parameters
    else:
        yield from (part for part in parameters.values() if isinstance(part, Mapping))
