"""Answers of reasoning models that did not come to be: the thoughts before them were cut."""

from __future__ import annotations

from brulee.data.encoding import Encoder
from brulee.evaluation.answers import Answer
from brulee.progress import note


def is_unended(answer: Answer) -> bool:
    """Whether a reasoning model did not come to its answer."""
    return bool(answer.thoughts) and not answer.output


def tell_unended(title: str, unended: int, answers: int, most: int, encoder: Encoder) -> None:
    """Say how many of the answers, of `most` tokens each, are empty for that, if any is."""
    if not unended:
        return
    # The usual variable, where the model's chat template has it.
    able = "enable_thinking" in str(encoder.tokenizer.chat_template)
    how = "; model.chat_template_kwargs: {enable_thinking: false} turns reasoning off"
    note(
        f"{title}: {unended:,} of {answers:,} answers did not finish their reasoning within "
        f"{most:,} tokens (max_new_tokens) and count as empty{how if able else ''}."
    )
