"""How many tokens a model can read."""

from __future__ import annotations

from transformers import PreTrainedModel


def context_length(model: PreTrainedModel) -> int | None:
    """Tokens in one document, prompt plus completion; None where positions are relative (T5).

    An encoder-decoder has as many for each of its sides.
    """
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(limit) if limit else None
