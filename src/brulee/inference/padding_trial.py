"""Tests in which way a model continues rows as it reads each of them alone.

Models with a recurrent state differ in whether it skips padding, and in whether it still does after
the first token and with a single row left (Mamba 2 in transformers 5.12 does not); a model with its
own sliding windows may count padding. RoBERTa and its relatives do not count positions from 0. A
cache may be of no use: in transformers 5.24 that of xLSTM for some sizes, and that of a hybrid
without attention.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

import torch
from transformers import PreTrainedModel

from brulee.inference.padded_decoder import PLAINEST, PaddedDecoder, Way
from brulee.models.allocator import is_exhaustion
from brulee.models.context import context_length
from brulee.models.rounding_trial import coarsest, logits_only_round
from brulee.models.turns import turn
from brulee.progress import waiting

_LONGER, _SHORTER = 11, 5  # prompt lengths, if the context allows
_MORE = 4  # tokens generated; the other prompt gets half
_APART = Way(pads=False)
_WAYS = (Way(), _APART, Way(pads=False, numbered=False))


@waiting("Trying the model on a few tokens")
def way_of(model: PreTrainedModel, pad_id: int) -> Way:
    """The fastest way in which two prompts in one batch continue as one does that is read anew.

    One prompt ends first, so that the other has tokens both in a batch and alone. In a context too
    short for the test prompts of different lengths do not share a batch, nor do they if a model
    refuses padding.
    """
    longest = min(_LONGER, (context_length(model) or sys.maxsize) - _MORE)
    sizes = longest, min(_SHORTER, longest - 1)
    if min(sizes) < 1:
        return _APART
    with turn(model):  # no other thread runs it while its dropout is off
        training = model.training
        model.eval()
        try:
            high = model.get_input_embeddings().weight.shape[0]
            draw = torch.Generator().manual_seed(0)
            longer, shorter = (torch.randint(high, (n + _MORE,), generator=draw) for n in sizes)
            alike = longer[: len(shorter)]
            expected = _logits(model, [shorter.tolist()], pad_id, PLAINEST)
            for way in _WAYS:
                beside = longer if way.pads else alike
                texts = [shorter.tolist(), beside.tolist()]
                if _is_right(model, texts, pad_id, way, expected):
                    return way
        finally:
            model.train(training)
    return PLAINEST


def _is_right(
    model: PreTrainedModel,
    texts: Sequence[Sequence[int]],
    pad_id: int,
    way: Way,
    expected: torch.Tensor,
) -> bool:
    try:
        found = _logits(model, texts, pad_id, way)
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as failure:
        if is_exhaustion(failure):
            raise
        return False
    alone = partial(_logits, model, texts[:1], pad_id, PLAINEST)
    return logits_only_round(found, expected, model, alone, coarsest(model, found))


def _logits(
    model: PreTrainedModel, texts: Sequence[Sequence[int]], pad_id: int, way: Way
) -> torch.Tensor:
    """Logits (1 + _MORE, V) after the first text's prompt, and after each token following it."""
    decoder = PaddedDecoder(model, [text[:-_MORE] for text in texts], pad_id, way=way)
    _, logits_BV = decoder.admit(len(texts))
    found = [logits_BV[0]]
    for at in range(-_MORE, 0):
        if at == -_MORE // 2:
            texts = texts[:1]
            decoder.drop(list(range(1, len(logits_BV))))
        logits_BV = decoder.push([[text[at]] for text in texts])
        found.append(logits_BV[0])
    return torch.stack(found)
