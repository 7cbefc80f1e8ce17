"""A causal model reading plain texts: no template, a BOS token first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch

from brulee.data.encoding import Encoded, Encoder
from brulee.errors import InputError
from brulee.evaluation.base import Array
from brulee.inference.engine import Engine
from brulee.models.context import context_length

MOST_TOKENS: Final = 512


class PlainReader:
    """Encodes texts as documents with every token predicted, up to `room` tokens each.

    Raises InputError for an encoder-decoder.
    """

    def __init__(self, engine: Engine, encoder: Encoder) -> None:
        if engine.seq2seq:
            raise InputError(
                "an encoder-decoder gives no likelihood to a text by itself, so that it cannot be "
                "asked whether it knows the test rows."
            )
        self.engine, self._tokenizer = engine, encoder.tokenizer
        begin = encoder.tokenizer.bos_token_id
        # Without a BOS token, the text follows a stop token.
        self._start = (*encoder.prefix_ids, encoder.stop_ids[-1] if begin is None else begin)
        context = context_length(engine.model)
        most = MOST_TOKENS if context is None else min(context, MOST_TOKENS)
        self.room = most - len(self._start)

    def tokens(self, text: str) -> list[int]:
        """The token ids of a text, without special tokens."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def document(self, ids: Sequence[int]) -> Encoded:
        """A document of these ids, truncated to `room`."""
        kept = ids[: self.room]
        return Encoded.ending([*self._start, *kept], len(kept))

    @torch.no_grad()
    def log_probabilities(self, document: Encoded) -> Array:
        """The natural log-probability of every predicted token."""
        ids_1T = torch.tensor([document.ids], device=self.engine.device)
        output = self.engine.model(input_ids=ids_1T, use_cache=False)
        scores_TV = output.logits[0, -document.learned - 1 : -1].float().log_softmax(dim=-1)
        picked_T = scores_TV.gather(1, ids_1T[0, -document.learned :, None])[:, 0]
        return np.asarray(picked_T.double().cpu())
