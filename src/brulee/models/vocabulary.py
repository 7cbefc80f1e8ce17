"""Tokens that a tokenizer writes and its model has no vectors for.

Some tokenizers were given tokens and their models no rows for them. As long as no text has one of
them nothing is wrong (Gemma 3 knows a token for images that its text model has not), so that a text
is refused and not the model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from brulee.errors import InputError


def refuse_unknown_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str
) -> None:
    """Have the model raise InputError for a token that it has no vector for, naming the token.

    Looks at what is read only where the tokenizer has more tokens than the model. Raises InputError
    at once if the token that ends texts is one of them.
    """
    table = model.get_input_embeddings().weight
    known = table.shape[0]
    if len(tokenizer) <= known:
        return

    def refusal(token: int) -> InputError:
        text = tokenizer.convert_ids_to_tokens(token)
        return InputError(
            f"model {name!r}: its tokenizer writes {text!r} as {token}, but the model has vectors "
            f"for {known} tokens only; give it vectors for all {len(tokenizer)} "
            "(resize_token_embeddings), or the tokenizer that it was trained with."
        )

    if (tokenizer.eos_token_id or 0) >= known:
        raise refusal(int(tokenizer.eos_token_id))

    def check(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        ids = inputs[0] if inputs else None
        if isinstance(ids, torch.Tensor) and ids.numel() and int(ids.max()) >= known:
            raise refusal(int(ids.max()))

    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.weight is table:
            module.register_forward_pre_hook(check)
