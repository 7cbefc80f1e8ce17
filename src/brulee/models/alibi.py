"""ALiBi: attention scores fall with the distance of a key, for each head at its own rate.

    s = scale q k - m (i - j)            i, j the positions of query and key, m the head's slope

Press et al. 2022, "Train Short, Test Long". A softmax does not change if all scores of a query grow
alike, so m j stands for the bias. That is the product of more values of each head, which every
kernel of attention computes with the rest:

    query   q, m / scale in two parts, each twice, zeros
    key     k, j in two parts, twice, zeros

The parts keep positions exact, and slopes to 16 bits, in half precision. The first Falcons round
every j to bfloat16 (503 to 504) and then every m j, whatever the model's dtype: there, keys have
these in place of j, each head its own, and queries a factor in place of m.

Shapes: `Q` queries, `T` keys, `H` query heads, `K` key heads, `W` head width, `E` values more.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from brulee.models.layer_parts import Body
from brulee.models.text_part import body_with_inputs

_BIASES = ("alibi", "position_bias")  # arguments of layers
_HALF = 256  # positions below it are exact in bfloat16, and so are its multiples
_PARTS = 4
# Head widths become a multiple of these: for kernels on a GPU, and for the loops in C.
_STEP, _STEP_IN_C = 8, 32


@torch.no_grad()
def read_slopes(model: PreTrainedModel, body: Body) -> tuple[float, ...]:
    """The slopes of the bias that the model gives to its first layer; () if it gives none."""
    taken = inspect.signature(body.layers[0].forward).parameters
    if not any(name in taken for name in _BIASES):
        return ()
    given: list[torch.Tensor] = []

    def keep(_layer: Any, _inputs: Any, named: dict[str, Any]) -> None:
        given.extend(named[name] for name in _BIASES if named.get(name) is not None)

    handle = body.layers[0].register_forward_pre_hook(keep, with_kwargs=True)
    try:
        ids = torch.zeros(1, 2, dtype=torch.long, device=body.like.device)
        body_with_inputs(model)(input_ids=ids, use_cache=False)
    finally:
        handle.remove()
    if not given:
        return ()
    bias_HS = given[0].reshape(-1, given[0].shape[-1]).float()
    return tuple((bias_HS[:, -1] - bias_HS[:, -2]).tolist())


def with_places(
    q_QHW: torch.Tensor,
    k_TKW: torch.Tensor,
    slopes: Sequence[float],
    scale: float,
    places_T: torch.Tensor,
    rounded: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and keys of width W + E whose products, times `scale`, have the bias.

    `places` are the positions of the last keys; those before are a prefix's. `rounded` is the
    factor of biases that are rounded before. Raises RuntimeError for these if heads share keys.
    """
    before_P = torch.arange(len(k_TKW) - len(places_T), device=k_TKW.device)
    places_T = torch.cat([before_P, places_T])
    width = q_QHW.shape[2]
    more = wider(width, q_QHW.device) - width
    rates, parts_TK2 = _factors(tuple(slopes), places_T, rounded)
    of_query_HE = _steep(rates, scale, more, q_QHW.dtype, q_QHW.device)
    of_key_TKE = k_TKW.new_zeros(*parts_TK2.shape[:2], more)
    of_key_TKE[..., :_PARTS] = parts_TK2.repeat(1, 1, 2)
    return (
        torch.cat([q_QHW, of_query_HE.expand(len(q_QHW), -1, -1)], dim=2),
        torch.cat([k_TKW, of_key_TKE.expand(-1, k_TKW.shape[1], -1)], dim=2),
    )


def wider(width: int, device: torch.device) -> int:
    """W + E, the width of heads with a bias."""
    by_loops = _STEP_IN_C if width % _STEP_IN_C == 0 else _PARTS
    step = _STEP if device.type == "cuda" else by_loops
    return -(-(width + _PARTS) // step) * step


def _factors(
    slopes: tuple[float, ...], places_T: torch.Tensor, rounded: float | None
) -> tuple[tuple[float, ...], torch.Tensor]:
    """What queries have, by head, and in two parts what keys have: (T, 1, 2), rounded (T, K, 2).

    The bias is their product.
    """
    if rounded is None:
        rest_T = places_T % _HALF
        return slopes, torch.stack([rest_T, places_T - rest_T], dim=1)[:, None]
    # As the model multiplies them: integers times bfloat16, which rounds the integers first.
    steps_TK = places_T[:, None] * _kept(slopes, places_T.device).bfloat16()
    return (rounded,) * len(slopes), torch.stack([steps_TK, torch.zeros_like(steps_TK)], dim=2)


@functools.lru_cache(maxsize=64)
def _kept(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """A tensor of these, kept, as a copy to a GPU cannot be captured."""
    return torch.tensor(values, device=device)


@functools.lru_cache(maxsize=64)
def _steep(
    rates: tuple[float, ...], scale: float, more: int, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """The values more of queries, (H, E), kept as well."""
    steep_H = _kept(rates, device) / scale
    coarse_H = steep_H.to(dtype)
    fine_H = (steep_H - coarse_H).to(dtype)
    found_HE = torch.zeros(len(rates), more, dtype=dtype, device=device)
    found_HE[:, :_PARTS] = torch.stack([coarse_H, coarse_H, fine_H, fine_H], dim=1)
    return found_HE
