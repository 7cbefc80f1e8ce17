"""Log-probabilities of chosen tokens, and of the likeliest ones in their place.

They are the model's own: a log-softmax of its logits, before temperature, biases, penalties, and
whatever a schema hides (as vLLM gives them by default, and as `likelihood.py` scores texts).

Shapes: `N` tokens, `K` likeliest, `V` vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from brulee.inference.on_device import on_device

_TOGETHER: Final = 32  # rows of the vocabulary's width that are computed at once, in fp32


@dataclass(frozen=True, slots=True)
class Scored:
    """A token, its log-probability (natural log), and the likeliest tokens with theirs.

    The first token of a text has none.
    """

    token: int
    log_probability: float | None
    likeliest: tuple[tuple[int, float], ...] = ()

    @property
    def known(self) -> bool:
        """Whether the model gave numbers."""
        return self.log_probability is None or not math.isnan(self.log_probability)


@torch.no_grad()
def scored(logits_NV: torch.Tensor, tokens: Sequence[int], likeliest: int) -> list[Scored]:
    """Each token after its row of logits, with the `likeliest` tokens there."""
    found: list[Scored] = []
    for start in range(0, len(tokens), _TOGETHER):
        own = tokens[start : start + _TOGETHER]
        log_NV = logits_NV[start : start + len(own)].float().log_softmax(dim=-1)
        chosen_N1 = on_device(own, log_NV.device)[:, None]
        values_N = log_NV.gather(-1, chosen_N1)[:, 0].tolist()
        top_NK = log_NV.topk(min(likeliest, log_NV.shape[-1]), dim=-1)
        tops = [
            tuple(zip(ids, values, strict=True))
            for ids, values in zip(top_NK.indices.tolist(), top_NK.values.tolist(), strict=True)
        ]
        found += [Scored(*each) for each in zip(own, values_N, tops, strict=True)]
    return found
