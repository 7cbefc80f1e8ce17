"""Missing answers of reasoning models whose reasoning was truncated."""

from __future__ import annotations

from brulee.data.encoding import Encoder
from brulee.evaluation.answers import Answer
from brulee.progress import note


def is_unended(answer: Answer) -> bool:
    """Whether a reasoning model's output ended before its answer."""
    return bool(answer.thoughts) and not answer.output


def tell_unended(title: str, unended: int, answers: int, most: int, encoder: Encoder) -> None:
    """Report how many answers are empty because the reasoning exceeded `most` tokens, if any."""
    if not unended:
        return
    # The usual variable, if the model's chat template has it.
    able = "enable_thinking" in str(encoder.tokenizer.chat_template)
    how = "; model.chat_template_kwargs: {enable_thinking: false} turns reasoning off"
    note(
        f"{title}: {unended:,} of {answers:,} answers did not finish their reasoning within "
        f"{most:,} tokens (max_new_tokens) and count as empty{how if able else ''}."
    )
