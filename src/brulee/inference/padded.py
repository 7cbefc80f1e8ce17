"""Log-likelihoods in padded batches, for models that cannot read streams.

Shapes: `B` requests in a batch, `T` tokens, `N` scored tokens, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from brulee.data.batching import pad, pad_pairs
from brulee.data.encoding import Encoded
from brulee.inference.likelihood import Note, Tally, token_scores
from brulee.models.decoder_start import decoder_start
from brulee.models.rope import angles_of, read_alike
from brulee.models.turns import turn


def score_padded(
    model: PreTrainedModel, requests: Sequence[Encoded], pad_id: int, tokens: int, note: Note
) -> None:
    """Call `note` with each request's likelihood; a batch has `tokens` tokens with padding.

    Raises ValueError for a request whose first token is scored: nothing predicts it.
    """
    tally = Tally(requests, note)
    for part in padded_parts([len(r.ids) for r in requests], tokens):
        documents = [requests[i] for i in part]
        owners = [i for i in part for _ in range(requests[i].learned)]
        logits_NV, targets = _logits(model, documents, pad_id)
        rows = np.arange(len(targets))
        for owner, scored in zip(owners, token_scores(logits_NV, rows, targets), strict=True):
            tally.add(owner, *scored)


def padded_parts(sizes: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Batches of indices, longest first, of at most `tokens` tokens with padding."""
    order = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    start = 0
    while start < len(order):
        count = max(1, tokens // max(1, sizes[order[start]]))
        yield order[start : start + count]
        start += count


@torch.no_grad()
def prompt_logits(model: PreTrainedModel, prompt: Sequence[int]) -> torch.Tensor:
    """Logits (N, V) after each token of a causal model's prompt."""
    device = next(model.parameters()).device
    (length,) = read_alike(model, [len(prompt)])
    with turn(model), angles_of(model, length):
        output = model(torch.tensor([list(prompt)], device=device), use_cache=False)
    logits_NV: torch.Tensor = output.logits[0]
    return logits_NV


@torch.no_grad()
def _logits(
    model: PreTrainedModel, documents: Sequence[Encoded], pad_id: int
) -> tuple[torch.Tensor, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Logits (N, V) that predict each scored token, and these tokens (N)."""
    if model.config.is_encoder_decoder:
        batch = pad_pairs(documents, pad_id, decoder_start(model))
    else:
        batch = pad(documents, pad_id)
    targets = np.array(batch.targets.numpy())
    batch = batch.to(next(model.parameters()).device)
    with turn(model):
        logits_BTV = model(**batch.inputs, use_cache=False).logits
    return logits_BTV.flatten(0, 1)[batch.positions], targets
