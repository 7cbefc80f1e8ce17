"""Tests whether a model reads a stream of branches exactly."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from brulee.inference.branches import lay_out
from brulee.inference.path_reader import PathReader
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
    found_NV = torch.cat(logits).float()
    tolerance = 1e-3 if logits[0].dtype == torch.float32 else 0.05
    for document, path in zip(documents, stream.paths, strict=True):
        ids = torch.tensor([document], device=reader.device)
        expected = model(input_ids=ids, use_cache=False).logits[0].float()
        error = (found_NV[torch.from_numpy(path)] - expected).abs().max()
        if error > tolerance * expected.abs().max():
            return False
    return True
