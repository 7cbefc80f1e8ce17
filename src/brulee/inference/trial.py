"""Tests whether a model reads a stream of branches exactly."""

from __future__ import annotations

from functools import partial

import torch
from transformers import PreTrainedModel

from brulee.inference.branches import lay_out
from brulee.inference.path_reader import PathReader
from brulee.models.rounding_trial import coarsest, logits_only_round
from brulee.models.turns import turn


def reads_streams(model: PreTrainedModel) -> bool:
    """Whether two short documents in a stream get the same logits as alone.

    False for encoder-decoders, models with a recurrent state and those that ignore the attention
    interface, which are batched with padding.
    """
    if model.config.is_encoder_decoder or not getattr(model, "_supports_attention_backend", False):
        return False
    if getattr(model.config, "attention_chunk_size", None):
        return False  # chunks are a mask, and longer than the documents tested below
    with turn(model):
        training = model.training
        model.eval()  # dropout would make two runs differ
        try:
            return _same_alone(model)
        finally:
            model.train(training)


@torch.no_grad()
def _same_alone(model: PreTrainedModel) -> bool:
    high = model.get_input_embeddings().weight.shape[0]
    drawn = torch.randint(high, (15,), generator=torch.Generator().manual_seed(0)).tolist()
    documents = [drawn[:9], [*drawn[:3], *drawn[9:]]]
    stream = lay_out(documents)
    reader = PathReader(model, stream)
    try:
        logits = [
            reader.read(part, torch.arange(part.stop - part.start, device=reader.device))
            for part in stream.passes(0, len(stream.ids), 8)
        ]
    except (ValueError, TypeError, AttributeError):
        return False
    found_NV = torch.cat(logits)
    for document, path in zip(documents, stream.paths, strict=True):
        alone = partial(_alone, model, torch.tensor([document], device=reader.device))
        found = found_NV[torch.from_numpy(path)]
        if not logits_only_round(found, alone(), model, alone, coarsest(model, found)):
            return False
    return True


def _alone(model: PreTrainedModel, ids_1T: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=ids_1T, use_cache=False).logits[0]
    return logits
