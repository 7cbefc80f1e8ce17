"""Tokens that a tokenizer can produce but its model has no embeddings for, in one table or another.

Some tokenizers have more tokens than their model's embedding has rows (Gemma 3's has an image token
that its text model lacks). That does no harm until a text contains one, so such texts are refused,
not the model.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from brulee.errors import InputError
from brulee.models.text_part import text_modules


def refuse_unknown_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str
) -> None:
    """Make the model raise InputError, with the token's name, for tokens without an embedding.

    Inputs are only checked if the tokenizer has more tokens than the model. Raises InputError at
    once if the end-of-sequence token is one of them.
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


@torch.no_grad()
def looks_up_more(model: PreTrainedModel, table: nn.Module) -> bool:
    """Whether another table is called with the ids too (Gemma 3n and 4).

    Only a table with about as many rows is watched, during a pass over valid ids: an id without a
    row is an error that a GPU does not recover from.
    """
    weight = cast(torch.Tensor, table.weight)
    others = [m for _, m in text_modules(model) if isinstance(m, nn.Embedding) and m is not table]
    others = [m for m in others if 10 * m.num_embeddings >= 9 * len(weight)]
    if model.config.is_encoder_decoder or not others or weight.is_meta:
        return False
    ids = torch.tensor([[3, 3, 1]], device=weight.device)  # unlike any positions
    found: list[bool] = []
    hooks = [
        m.register_forward_pre_hook(lambda _, x: found.append(x[0].equal(ids))) for m in others
    ]
    try:
        model(input_ids=ids, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return any(found)
