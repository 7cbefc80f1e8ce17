"""Tests whether a model generates correctly with rows padded on the left.

Models with a recurrent state differ in whether it skips padding, and in whether it still does after
the first token and with a single row left (Mamba 2 in transformers 5.12 does not); a model with its
own sliding windows may count padding.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from brulee.inference.padded_decoder import PaddedDecoder
from brulee.models.allocator import is_exhaustion
from brulee.models.context import context_length
from brulee.models.turns import turn

_LONGER, _SHORTER = 11, 5  # prompt lengths, if the context allows
_MORE = 4  # tokens generated; the longer prompt gets half


def pads_rightly(model: PreTrainedModel, pad_id: int) -> bool:
    """Whether two prompts of different lengths in one padded batch continue as each does alone.

    The longer ends first, so that the shorter has tokens both in a batch and alone. False for a
    context too short for the test, and for a model that refuses padding: its prompts are not
    padded.
    """
    longest = min(_LONGER, (context_length(model) or sys.maxsize) - _MORE)
    sizes = longest, min(_SHORTER, longest - 1)
    if min(sizes) < 1:
        return False
    with turn(model):  # no other thread runs it while its dropout is off
        training = model.training
        model.eval()
        try:
            high = model.get_input_embeddings().weight.shape[0]
            draw = torch.Generator().manual_seed(0)
            longer, shorter = (torch.randint(high, (n + _MORE,), generator=draw) for n in sizes)
            expected = _logits(model, [shorter.tolist()], pad_id)
            try:
                found = _logits(model, [shorter.tolist(), longer.tolist()], pad_id)
            except (RuntimeError, ValueError, TypeError, LookupError) as failure:
                if is_exhaustion(failure):
                    raise
                return False
        finally:
            model.train(training)
    tolerance = 1e-3 if found.dtype == torch.float32 else 0.05
    error = (found.float() - expected.float()).abs().max()
    return bool(error <= tolerance * expected.float().abs().max())


def _logits(model: PreTrainedModel, texts: Sequence[Sequence[int]], pad_id: int) -> torch.Tensor:
    """Logits (1 + _MORE, V) after the first text's prompt, and after each token following it."""
    decoder = PaddedDecoder(model, [text[:-_MORE] for text in texts], pad_id)
    _, logits_BV = decoder.admit(len(texts))
    found = [logits_BV[0]]
    for at in range(-_MORE, 0):
        if at == -_MORE // 2:
            texts = texts[:1]
            decoder.drop(list(range(1, len(logits_BV))))
        logits_BV = decoder.push([[text[at]] for text in texts])
        found.append(logits_BV[0])
    return torch.stack(found)
