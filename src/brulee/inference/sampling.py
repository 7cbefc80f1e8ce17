"""The next token from logits: greedy, or sampled with temperature and top-p."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import torch

from brulee.errors import InputError
from brulee.inference.json_form import Form

NO_TOKEN: Final = -1  # chosen where the model's logits are NaN
_SEEDS: Final = 2**64  # a generator's seed must be below this
_COLDEST: Final = 1e-30  # below it logits would overflow; the top token is certain anyway


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen, and where a completion ends; temperature 0 is greedy.

    A text of `stop` ends it and is excluded. With `beams` above 1, a beam search of that width
    picks the completion with the highest log-probability / tokens ** length_penalty. `form`
    constrains every completion. Raises InputError naming an invalid number, and for beam search
    with a form.
    """

    max_new_tokens: int = 96
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    beams: int = 1
    length_penalty: float = 1.0
    form: Form | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, least in (("max_new_tokens", 1), ("beams", 1)):
            if (count := getattr(self, name)) < least:
                raise InputError(f"{name} = {count!r} is not valid: it should be {least} or more.")
        if not 0.0 <= self.temperature < math.inf:
            raise InputError(
                f"temperature = {self.temperature!r} is not valid: it should be 0 (greedy) or more."
            )
        if not 0.0 <= self.top_p <= 1.0:
            raise InputError(
                f"top_p = {self.top_p!r} is not valid: it should be between 0 and 1 (no cut)."
            )
        if self.form is not None and self.beams > 1:
            raise InputError(
                f"beams = {self.beams!r} is not valid with a JSON schema; leave it out."
            )


def generators(sampling: Sampling, numbers: Sequence[int]) -> list[torch.Generator]:
    """One random stream per request, so that its samples do not depend on the rest of the batch."""
    seeds = [(sampling.seed * 1_000_003 + i) % _SEEDS for i in numbers]
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def next_tokens(
    logits_BV: torch.Tensor, sampling: Sampling, streams: Sequence[torch.Generator]
) -> torch.Tensor:
    """The chosen token of each row, shape (B,); NO_TOKEN where a logit is NaN."""
    if sampling.temperature == 0.0:
        tokens_B = logits_BV.argmax(dim=-1)  # NaN counts as the largest
        wrong_B = logits_BV.gather(-1, tokens_B[:, None])[:, 0].isnan()
        return tokens_B.masked_fill(wrong_B, NO_TOKEN)
    temperature = max(sampling.temperature, _COLDEST)
    probabilities_BV = torch.softmax(logits_BV.float() / temperature, dim=-1).cpu()
    if sampling.top_p < 1.0:
        probabilities_BV = _nucleus(probabilities_BV, sampling.top_p)
    unknown = torch.tensor([NO_TOKEN])
    drawn = [
        unknown if row_V[0].isnan() else torch.multinomial(row_V, 1, generator=stream)
        for row_V, stream in zip(probabilities_BV, streams, strict=True)
    ]
    return torch.cat(drawn).to(logits_BV.device)


def _nucleus(probabilities_BV: torch.Tensor, top_p: float) -> torch.Tensor:
    """Keep the smallest set of tokens whose mass reaches top_p, at least the top token.

    Holtzman et al. 2020.
    """
    sorted_BV, order_BV = probabilities_BV.sort(dim=-1, descending=True)
    before_BV = sorted_BV.cumsum(dim=-1) - sorted_BV
    beyond_BV = before_BV >= top_p
    beyond_BV[:, 0] = False
    sorted_BV = sorted_BV.masked_fill(beyond_BV, 0.0)
    return torch.zeros_like(probabilities_BV).scatter_(-1, order_BV, sorted_BV)
