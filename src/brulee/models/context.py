"""How many tokens a model can read, or look back on, and how many of those are still free."""

from __future__ import annotations

from transformers import PreTrainedModel

from brulee.models.hooks import Prefixes, owners


def context_length(model: PreTrainedModel) -> int | None:
    """Tokens in one document, prompt plus completion; None where positions are relative (T5).

    An encoder-decoder has as many for each of its sides.
    """
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(limit) if limit else None


def free_length(model: PreTrainedModel, most: int) -> int:
    """Tokens of a document for which there is a position after all prefixes, `most` at most."""
    context = context_length(model)
    if context is None:
        return most
    prefixes: list[Prefixes] = owners(model, Prefixes)
    return min(most, context - sum(prefix.count for prefix in prefixes))


def window_length(model: PreTrainedModel) -> int | None:
    """How many tokens some layers look back on; None where all look back on everything."""
    window = getattr(model.config.get_text_config(), "sliding_window", None)
    return int(window) if window else None
