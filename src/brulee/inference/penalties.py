"""Penalties on tokens that a text already has, before the next one is chosen.

Shapes: `V` vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import torch

from brulee.inference.on_device import on_device
from brulee.inference.sampling import Sampling

_LARGEST: Final = 1e8  # no logit is beyond it, and no temperature makes it overflow
_SMALLEST: Final = 1e-30  # a repetition penalty; one that is 0 in fp32 makes 0 / 0 of a logit of 0


def penalise(
    logits_V: torch.Tensor, sampling: Sampling, before: Sequence[int], written: Sequence[int]
) -> None:
    """Change a row's logits in place, as its text so far has it.

    `before` are the tokens before the completion in the same text, `written` those of the
    completion. The repetition penalty counts both (Keskar et al. 2019, as in transformers): what is
    above zero is divided by it, what is below multiplied. The others count what is written, as
    OpenAI defines them: frequency times the count, and presence once, are subtracted.
    """
    if sampling.repetition_penalty != 1.0:
        # A soft prompt's ids are past the vocabulary.
        known = sorted(token for token in {*before, *written} if token < len(logits_V))
        at = on_device(known, logits_V.device, torch.long)
        found = logits_V[at]
        by = max(sampling.repetition_penalty, _SMALLEST)
        changed = torch.where(found < 0, found * by, found / by)
        logits_V[at] = changed.clamp(-_LARGEST, _LARGEST)
    if sampling.frequency_penalty or sampling.presence_penalty:
        counts = Counter(written)
        at = on_device(list(counts), logits_V.device, torch.long)
        times = on_device(list(counts.values()), logits_V.device, logits_V.dtype)
        logits_V[at] -= sampling.frequency_penalty * times + sampling.presence_penalty
