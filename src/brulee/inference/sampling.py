"""The next token from logits: greedy, or sampled with temperature, top-k, top-p and min-p."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypedDict

import torch

from brulee.errors import InputError
from brulee.inference.biases import MOST
from brulee.inference.json_form import Form

NO_TOKEN: Final = -1  # chosen where the model's logits are NaN
_SEEDS: Final = 2**64  # a generator's seed must be below this
_COLDEST: Final = 1e-30  # below it logits would overflow; the top token is certain anyway
_HOTTEST: Final = 1e30  # a fp32 number; all tokens that are possible are equally likely anyway
_LENGTH: Final = 10.0  # a larger power of a completion's tokens may overflow


class Choice(TypedDict, total=False):
    """Settings of `Sampling` that are rarely given."""

    top_k: int
    min_p: float
    repetition_penalty: float
    frequency_penalty: float
    presence_penalty: float
    length_penalty: float


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen, and where a completion ends; temperature 0 is greedy.

    A text of `stop` ends it and is excluded. With `beams` above 1, a beam search of that width
    picks the completion with the highest log-probability / tokens ** length_penalty. `form`
    constrains every completion. Sampled are the `top_k` likeliest tokens (0: all), then those of
    `top_p`, then those at least `min_p` times as likely as the likeliest (Nguyen et al. 2024). The
    penalties are those of penalties.py. `biases` are token ids, each once, with what is added to
    their logits before all else. Raises InputError naming an invalid number, and for beam search
    with a form, a penalty or a bias.
    """

    max_new_tokens: int = 96
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    beams: int = 1
    length_penalty: float = 1.0
    form: Form | None = field(default=None, repr=False)
    # Not in the repr, by which stored answers are found again (`further` adds what is not default):
    # a setting that is added changes the identity of no answer that was written without it.
    top_k: int = field(default=0, repr=False)
    min_p: float = field(default=0.0, repr=False)
    repetition_penalty: float = field(default=1.0, repr=False)
    frequency_penalty: float = field(default=0.0, repr=False)
    presence_penalty: float = field(default=0.0, repr=False)
    biases: tuple[tuple[int, float], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for name, least in (("max_new_tokens", 1), ("beams", 1), ("top_k", 0)):
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
        if not 0.0 <= self.min_p <= 1.0:
            raise InputError(
                f"min_p = {self.min_p!r} is not valid: it should be between 0 (no cut) and 1."
            )
        if not 0.0 < self.repetition_penalty < math.inf:
            raise InputError(
                f"repetition_penalty = {self.repetition_penalty!r} is not valid: it should be "
                "above 0; 1 changes nothing."
            )
        if not -_LENGTH <= self.length_penalty <= _LENGTH:
            raise InputError(
                f"length_penalty = {self.length_penalty!r} is not valid: it should be between "
                f"-{_LENGTH:g} and {_LENGTH:g}; 0 ignores the length."
            )
        for name in ("frequency_penalty", "presence_penalty"):
            if not -2.0 <= (given := getattr(self, name)) <= 2.0:
                raise InputError(
                    f"{name} = {given!r} is not valid: it should be between -2 and 2; 0 changes "
                    "nothing."
                )
        for token, bias in self.biases:
            if token < 0 or not -MOST <= bias <= MOST:
                raise InputError(
                    f"a bias of {bias!r} on token {token!r} is not valid: tokens are numbered from "
                    f"0, and biases are between {-MOST:g} and {MOST:g}."
                )
        if self.beams > 1 and (self.form is not None or self.penalises or self.biases):
            other = "a penalty on repetition" if self.penalises else "a bias on tokens"
            beside = "a JSON schema" if self.form is not None else other
            raise InputError(f"beams = {self.beams!r} is not valid with {beside}; leave it out.")

    @property
    def penalises(self) -> bool:
        """Whether the next token depends on which tokens the text has."""
        penalties = (self.repetition_penalty - 1, self.frequency_penalty, self.presence_penalty)
        return any(penalties)

    @property
    def further(self) -> dict[str, Any]:
        """The settings that are not in the repr and are not the defaults; of `form`, nothing."""
        hidden = (one for one in fields(self) if not one.repr and one.name != "form")
        found = {one.name: getattr(self, one.name) for one in hidden}
        return {n: value for n, value in found.items() if value != getattr(Sampling, n)}

    @property
    def cuts(self) -> tuple[float, ...]:
        """What `next_tokens` depends on: rows that have it in common are chosen for together."""
        return self.temperature, self.top_p, self.top_k, self.min_p


def generators(sampling: Sampling, numbers: Sequence[int]) -> list[torch.Generator]:
    """One random stream per request, so that its samples do not depend on the rest of the batch."""
    seeds = [(sampling.seed * 1_000_003 + i) % _SEEDS for i in numbers]
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def next_tokens(
    logits_BV: torch.Tensor, sampling: Sampling, streams: Sequence[torch.Generator]
) -> torch.Tensor:
    """The chosen token of each row, (B,), on the CPU if drawn; NO_TOKEN where a logit is NaN."""
    if sampling.temperature == 0.0:
        tokens_B = logits_BV.argmax(dim=-1)  # NaN counts as the largest
        wrong_B = logits_BV.gather(-1, tokens_B[:, None])[:, 0].isnan()
        return tokens_B.masked_fill(wrong_B, NO_TOKEN)
    temperature = min(max(sampling.temperature, _COLDEST), _HOTTEST)
    probabilities_BV = torch.softmax(logits_BV.float() / temperature, dim=-1)
    if 0 < sampling.top_k < probabilities_BV.shape[-1]:
        probabilities_BV = _likeliest(probabilities_BV, sampling.top_k)
    if sampling.top_p < 1.0:
        probabilities_BV = _nucleus(probabilities_BV, sampling.top_p)
    if sampling.min_p > 0.0:
        least_B1 = sampling.min_p * probabilities_BV.amax(-1, keepdim=True)
        probabilities_BV = probabilities_BV.masked_fill(probabilities_BV < least_B1, 0.0)
    unknown = torch.tensor([NO_TOKEN])
    # Cut on their device: sorting a vocabulary takes a CPU longer than a GPU takes for the pass.
    drawn = [
        unknown if row_V[0].isnan() else torch.multinomial(row_V, 1, generator=stream)
        for row_V, stream in zip(probabilities_BV.cpu(), streams, strict=True)
    ]
    return torch.cat(drawn)


def _likeliest(probabilities_BV: torch.Tensor, count: int) -> torch.Tensor:
    """The `count` likeliest tokens, with their probabilities among themselves (Fan et al. 2018).

    Tokens as likely as the last of them stay too, as in transformers.
    """
    least_B1 = probabilities_BV.topk(count, dim=-1).values[:, -1:]
    kept_BV = probabilities_BV.masked_fill(probabilities_BV < least_B1, 0.0)
    return kept_BV / kept_BV.sum(-1, keepdim=True)


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
