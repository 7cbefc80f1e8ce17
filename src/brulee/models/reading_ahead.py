"""Refuses a model that reads the tokens that it has to predict.

Encoders (BERT, RoBERTa, XLM, ...) are among transformers' causal models, and attend to both sides
unless their configuration says otherwise: transformers only warns. PaliGemma reads a prompt so.
In transformers 5.24, ProphetNet's logits depend on how many tokens follow. Such a model would learn
to copy an answer, and not write it as it is scored. Reformer is refused as well: in training it
takes only texts that fill all of its table of positions.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.models.allocator import is_exhaustion
from brulee.models.context import free_length
from brulee.models.reading_files import reason
from brulee.models.rope import unchanged_length
from brulee.models.rounding_trial import coarsest, logits_only_round

_TOKENS = 8
_STRIDES = (7, 11, 13)  # between the ids of a text, one text for each
_FAILURES = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
# What makes an encoder read from left to right, where its configuration has it.
_SWITCHES = ("is_decoder", "causal")


@torch.no_grad()
def refuse_reading_ahead(model: PreTrainedModel, name: str) -> None:
    """Raise InputError if the logits after a token depend on tokens that follow it.

    Of an encoder-decoder, only the decoder has to read from left to right. Also raises InputError
    for a model that cannot read tokens alone, and for a Reformer.
    """
    if model.config.model_type == "reformer":
        raise InputError(
            f"{name}: Reformer is not supported: in training, transformers gives it only texts of "
            "one length, the product of its axial_pos_shape, and its hashes are random."
        )
    count = free_length(model, min(_TOKENS, unchanged_length(model) or _TOKENS))
    try:
        if count < 2 or not _reads_ahead(model, count):
            return
    except _FAILURES as failure:
        if is_exhaustion(failure):
            raise
        raise InputError(
            f"{name}: a {type(model).__name__} of transformers does not read text by itself, and "
            f"only text is trained on here: {reason(failure)}"
        ) from None
    pair = model.config.is_encoder_decoder
    off = [key for key in _SWITCHES if getattr(model.config, key, None) is False and not pair]
    advice = (
        f'put "{off[0]}": true in its config.json to have it read from left to right'
        if off
        else "only models that write from left to right can be used"
    )
    raise InputError(
        f"{name}: the logits of this {type(model).__name__} depend on the tokens that it would "
        f"have to predict, as an encoder's do; {advice}."
    )


def _reads_ahead(model: PreTrainedModel, count: int) -> bool:
    """Whether tokens that are appended change the logits before them, in each of some texts.

    In one of them they may do so in a mixture of experts as well: where two experts are nearly
    equal, rounding decides between them, and it depends on how many tokens are read.
    """
    return all(_moves(model, count, stride) for stride in _STRIDES)


def _moves(model: PreTrainedModel, count: int, stride: int) -> bool:
    high = model.get_input_embeddings().weight.shape[0]
    ids_1T = (torch.arange(count, device=model.device) * stride % high)[None]
    # FSMT hides padding wherever it stands in a text.
    ids_1T[ids_1T == getattr(model.config.get_text_config(), "pad_token_id", None)] = high - 1
    alone = partial(_logits, model, ids_1T, count // 2)
    found_1TV = _logits(model, ids_1T, count)[:, : count // 2]
    if not torch.isfinite(found_1TV).all():
        return False  # damaged weights, which are told where they are looked for
    dtype, most = coarsest(model, found_1TV), math.inf  # a doubt is not enough to refuse a model
    return not logits_only_round(found_1TV, alone(), model, alone, dtype, most)


def _logits(model: PreTrainedModel, ids_1T: torch.Tensor, count: int) -> torch.Tensor:
    """Logits of a text's first tokens; for an encoder-decoder, after all of it as a prompt."""
    inputs = {"input_ids": ids_1T[:, :count]}
    if model.config.is_encoder_decoder:
        inputs = {"input_ids": ids_1T, "decoder_input_ids": ids_1T[:, :count]}
    logits: torch.Tensor = model(**inputs, use_cache=False).logits
    return logits.float()
