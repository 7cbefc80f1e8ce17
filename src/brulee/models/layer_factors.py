"""Numbers that a layer multiplies by, and where its residual stream goes on from.

    Falcon H1    n = N1(x)        h = x + m mixer(n) + a attention(r n)      gates, keys and the
                                                                             MLP's output too
    MiniMax 01   n = N1(x)        h = a n + b attention(n)                   the same for the MLP

BLOOM's `apply_residual_connection_post_layernorm` is the second form without factors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Factors:
    """What is multiplied in a layer: what attention `reads`, `keys`, `gates` before activation.

    And what attention, the mixer beside it and the MLP give (`attended`, `mixed`, `fed`).
    """

    reads: float = 1.0
    keys: float = 1.0
    attended: float = 1.0
    mixed: float = 1.0
    gates: float = 1.0
    fed: float = 1.0


NO_FACTORS = Factors()


@dataclass(frozen=True)
class Streams:
    """The sum after attention, and after the MLP, of what the norm gives and what they give.

    Each is a pair of factors.
    """

    attention: tuple[float, float] = (1.0, 1.0)
    mlp: tuple[float, float] = (1.0, 1.0)


_OF_LAYER = {
    "reads": "attention_in_multiplier",
    "attended": "attn_out_multiplier",
    "mixed": "ssm_out_multiplier",
}
_OF_ATTENTION = {"keys": "key_multiplier"}
_OF_MLP = {"gates": "gate_multiplier", "fed": "down_multiplier"}
_NORMED_STREAMS = (
    ("attn_alpha_factor", "attn_beta_factor"),
    ("mlp_alpha_factor", "mlp_beta_factor"),
)
_FROM_NORM = "apply_residual_connection_post_layernorm"


def read_factors(layer: Any, attention: Any, mlp: Any) -> Factors:
    """The factors that the modules have as attributes; modules may be None."""
    owners = (layer, _OF_LAYER), (attention, _OF_ATTENTION), (mlp, _OF_MLP)
    return Factors(
        **{
            field: float(getattr(owner, name))
            for owner, names in owners
            for field, name in names.items()
            if hasattr(owner, name)
        }
    )


def read_streams(layer: Any) -> Streams | None:
    """How the residual streams go on, None if from what the norms read."""
    if all(hasattr(layer, name) for pair in _NORMED_STREAMS for name in pair):
        of = [(float(getattr(layer, a)), float(getattr(layer, b))) for a, b in _NORMED_STREAMS]
        return Streams(*of)
    return Streams() if getattr(layer, _FROM_NORM, False) else None


def multiplied(
    x: torch.Tensor, again: Callable[[], torch.Tensor] | None, times: float
) -> tuple[torch.Tensor, Callable[[], torch.Tensor] | None]:
    """X times a factor, and a function that recomputes that, from one that recomputes x."""
    if times == 1.0:
        return x, again
    return x * times, None if again is None else lambda: again() * times


def blended(stream: torch.Tensor, made: torch.Tensor, times: tuple[float, float]) -> torch.Tensor:
    """The sum of two tensors times a factor each."""
    first, second = times
    stream = stream if first == 1.0 else stream * first
    return stream + made if second == 1.0 else torch.add(stream, made, alpha=second)
