"""Context length and attention window of a model, and how many positions prefixes leave free."""

from __future__ import annotations

from transformers import PreTrainedModel

from brulee.models.hooks import Prefixes, owners
from brulee.models.rope import longest


def context_length(model: PreTrainedModel) -> int | None:
    """Most tokens in a document, prompt plus completion; None if positions are relative (T5).

    For an encoder-decoder, the limit of each side.
    """
    return longest(model.config.get_text_config())


def free_length(model: PreTrainedModel, most: int) -> int:
    """Positions left for a document after all prefixes, `most` at most."""
    context = context_length(model)
    if context is None:
        return most
    prefixes: list[Prefixes] = owners(model, Prefixes)
    return min(most, context - sum(prefix.count for prefix in prefixes))


def window_length(model: PreTrainedModel) -> int | None:
    """Tokens in the sliding window of some layers; None if all layers see the whole context."""
    window = getattr(model.config.get_text_config(), "sliding_window", None)
    return int(window) if window else None
