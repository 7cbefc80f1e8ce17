"""How several corrections of one tensor are combined; to add a way, add a line to WAYS.

A way receives the corrections of one tensor as a stack (N, ...) in fp32, the weights (N), and its
settings. The caller decides what a correction is: a product B A, one of its factors, an IA3 scale
minus one, or tuned weights minus the base's.

Shapes: `N` adapters, `X` the shape of the corrected tensor, `K` some of its values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch

from brulee.errors import InputError, unknown

_CHUNK = 2**18  # values; intermediate results of this size fit in a CPU cache


@dataclass(frozen=True)
class Settings:
    """Settings of a way: the share of values kept; seed and tensor name for random drops."""

    density: float = 1.0
    seed: int = 0
    tensor: str = ""


Function = Callable[[torch.Tensor, torch.Tensor, Settings], torch.Tensor]


@dataclass(frozen=True)
class Way:
    """A way to combine. `density` is its default, None if it keeps every value.

    `averages`: it divides by the number of adapters that contribute, so that the default weights
    are 1 instead of 1 / N.
    """

    apply: Function
    summary: str
    density: float | None = None
    averages: bool = False
    draws: bool = False


def weighted_sum(stack_NX: torch.Tensor, weights_N: torch.Tensor, _: Settings) -> torch.Tensor:
    """sum_i w_i t_i: task arithmetic (Ilharco et al. 2023), also with negative weights."""
    summed_X: torch.Tensor = torch.tensordot(weights_N, stack_NX, dims=1)
    return summed_X


def prune(stack_NX: torch.Tensor, weights_N: torch.Tensor, how: Settings) -> torch.Tensor:
    """The weighted sum of each correction's largest values."""
    return weighted_sum(_largest(stack_NX, how), weights_N, how)


def ties(stack_NX: torch.Tensor, weights_N: torch.Tensor, how: Settings) -> torch.Tensor:
    """Trim, elect a sign, and average the values that have it.

    Yadav et al. 2023, "TIES-Merging: Resolving Interference When Merging Models", except that the
    largest values are selected per tensor, not over the whole model, as in PEFT and mergekit.
    """
    return _agreeing(_largest(stack_NX, how), weights_N)


def dare(stack_NX: torch.Tensor, weights_N: torch.Tensor, how: Settings) -> torch.Tensor:
    """Drop values at random, rescale the rest, and sum.

    Yu et al. 2024, "Language Models are Super Mario: Absorbing Abilities from Homologous Models as
    a Free Lunch".
    """
    return weighted_sum(_dropped(stack_NX, how), weights_N, how)


def dare_ties(stack_NX: torch.Tensor, weights_N: torch.Tensor, how: Settings) -> torch.Tensor:
    """TIES with DARE's random dropping instead of trimming."""
    return _agreeing(_dropped(stack_NX, how), weights_N)


WAYS: Final[dict[str, Way]] = {
    "sum": Way(weighted_sum, "the weighted sum, exactly, or the best of it at a --rank"),
    "ties": Way(ties, "the largest values, of the sign that most of them have", 0.2, averages=True),
    "dare": Way(dare, "values dropped by chance, the rest scaled up, summed", 0.5, draws=True),
    "dare-ties": Way(
        dare_ties, "values dropped by chance, then as ties", 0.5, averages=True, draws=True
    ),
    "prune": Way(prune, "the weighted sum of the largest values", 0.5),
}

# PEFT's combination_type, and names used elsewhere.
_ELSEWHERE = {
    "average": "sum",
    "cat": "sum",
    "dare_linear": "dare with --factors",
    "dare_linear_svd": "dare",
    "dare_ties": "dare-ties with --factors",
    "dare_ties_svd": "dare-ties",
    "linear": "sum with --factors",
    "magnitude_prune": "prune with --factors",
    "magnitude_prune_svd": "prune",
    "svd": "sum with --rank",
    "task_arithmetic": "sum",
    "ties_svd": "ties",
}


def way_of(name: str) -> Way:
    """The way of that name. Raises InputError, which translates PEFT's names."""
    if name in WAYS:
        return WAYS[name]
    here = _ELSEWHERE.get(name.lower().replace("-", "_"))
    if here is not None:
        raise InputError(
            f"--how: unknown way {name!r}; here it is {here}. Valid: {', '.join(sorted(WAYS))}."
        )
    raise unknown("way", name, WAYS, "--how")


def _largest(stack_NX: torch.Tensor, how: Settings) -> torch.Tensor:
    """Keep only each correction's largest values: a fraction `density`, rounded down."""
    if how.density >= 1:
        return stack_NX
    flat = stack_NX.flatten(1)
    trimmed = torch.zeros(flat.shape)
    for own, into in zip(flat, trimmed, strict=True):
        kept = torch.topk(own.abs(), int(how.density * len(own)), sorted=False).indices
        into[kept] = own[kept]
    return trimmed.view(stack_NX.shape)


def _dropped(stack_NX: torch.Tensor, how: Settings) -> torch.Tensor:
    """Keep a random fraction `density` of each correction's values, rescaled by 1 / density.

    The draw depends only on the seed, the tensor's name and the adapter's position.
    """
    if how.density >= 1:
        return stack_NX
    kept = torch.empty_like(stack_NX)
    for number, one in enumerate(kept):
        key = f"{how.seed} {number} {how.tensor}".encode()
        drawn = int.from_bytes(hashlib.sha256(key).digest()[:7], "big")
        one.bernoulli_(how.density, generator=torch.Generator().manual_seed(drawn))
    return kept.mul_(stack_NX).div_(how.density)


def _agreeing(stack_NX: torch.Tensor, weights_N: torch.Tensor) -> torch.Tensor:
    """The mean of the weighted values whose sign has the larger total magnitude.

    A correction with a negative weight votes with its sign flipped. (PEFT ignores the weight's sign
    in the vote; for positive weights both are the same.) Where no value agrees the result is 0.
    """
    made_X = torch.empty(stack_NX.shape[1:])
    weights_N1 = weights_N.view(-1, 1)
    pieces = torch.split(stack_NX.flatten(1), _CHUNK, dim=1)
    for own_NK, into_K in zip(pieces, torch.split(made_X.view(-1), _CHUNK), strict=True):
        votes_NK = own_NK * weights_N1.sign()
        agree_NK = torch.where(votes_NK.sum(0) >= 0, votes_NK > 0, votes_NK < 0)
        count_K = agree_NK.sum(0).clamp_min(1)
        into_K.copy_((own_NK * weights_N1 * agree_NK).sum(0) / count_K)
    return made_X
