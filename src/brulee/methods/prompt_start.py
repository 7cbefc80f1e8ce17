"""How a soft prompt is initialised: from a text, from the vocabulary, or at random.

Lester et al. 2021, section 3.2: text and vocabulary beat random vectors, by far with few tokens or
a small model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from brulee.errors import InputError
from brulee.methods.peft_config import read_as, required
from brulee.models.context import context_length
from brulee.recipe import Strict

# Vocabularies are roughly ordered by frequency, the most frequent tokens first.
COMMON = 5000
_MOST = 2**16  # if the model's context is unlimited


class SoftOptions(Strict):
    """Options of every soft prompt."""

    tokens: Annotated[int, Field(ge=1)] = Field(20, description="virtual tokens")
    init: Literal["text", "vocabulary", "random"] = Field(
        "text", description="how they are initialised; vocabulary if there is no text"
    )
    init_text: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="the text for init: text; default: the first template's instruction"
    )


def read_soft(section: type[SoftT], kind: str, config: Mapping[str, Any]) -> SoftT:
    """The options of a stored soft prompt; any initialisation will do, as values are loaded."""
    key = "num_virtual_tokens"
    values = {"tokens": required(config, key), "init": "random"}
    return read_as(section, kind, values, {"tokens": key})


def check_room(model: PreTrainedModel, tokens: int) -> None:
    """Raise InputError if virtual tokens leave no room for a document in the model's context."""
    context = context_length(model)
    most = (context or _MOST) - 1
    if tokens > most:
        reads = f", which reads {context}" if context else ""
        raise InputError(
            f"method.tokens: {tokens} virtual tokens leave no room for a document before "
            f"{type(model).__name__}{reads}; valid: 1 to {most}."
        )


SoftT = TypeVar("SoftT", bound=SoftOptions)


class StartText:
    """The initial tokens of a soft prompt, once tokenizer and task are known."""

    def __init__(self, options: SoftOptions) -> None:
        if options.init_text is not None and options.init != "text":
            raise InputError(f"method.init_text: of use with init: text, not {options.init!r}.")
        self._options = options
        self._text_ids: tuple[int, ...] = ()

    def read(self, tokenizer: PreTrainedTokenizerBase, instruction: str) -> None:
        """Tokenize the text to start from: the options' own, else the task's instruction."""
        text = self._options.init_text or instruction
        self._text_ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    def ids(self, vocabulary: int, generator: torch.Generator) -> torch.Tensor:
        """Token ids (P): the text repeated or cut to length, else distinct frequent tokens.

        Raises InputError for an `init_text` that has no tokens.
        """
        own = self._options
        if own.init_text is not None and not self._text_ids:
            raise InputError(f"method.init_text: {own.init_text!r} gives no token to start from.")
        if own.init == "text" and self._text_ids:
            return torch.tensor(_repeated(self._text_ids, own.tokens))
        drawn = torch.randperm(min(vocabulary, COMMON), generator=generator)
        return torch.tensor(_repeated(drawn.tolist(), own.tokens))


def _repeated(ids: Sequence[int], count: int) -> list[int]:
    return [ids[i % len(ids)] for i in range(count)]
