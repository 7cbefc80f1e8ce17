"""What only few families compute in a layer after attention (layer_extras.py).

    beside     made = N1(MLP(N(h))) + N2(experts(N3(h)))        Gemma 4's larger sizes
    by words   y + N(P(act(G y) * w))                           w: the token's vector for this layer

Shapes: `T` rows, `D` width, `L` layers, `P` width of a token's vector for a layer.
"""

from __future__ import annotations

import inspect
import statistics
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from brulee.models import layer_extras as names
from brulee.models.altup import read_by_words, with_others
from brulee.models.fused_projection import project
from brulee.models.fused_swiglu import gated, gated_again
from brulee.models.held import Held
from brulee.models.layer_extras import Extras
from brulee.models.rounding import filled

Norm = Callable[[Any, torch.Tensor], torch.Tensor]


def with_experts(
    layer: Any, read_TD: torch.Tensor, made_TD: torch.Tensor, norm: Norm
) -> torch.Tensor:
    """The MLP's output and that of the experts beside it, normalised and added.

    Router and experts are called as modules, with their hooks; `read` is what the MLP's norm reads.
    """
    _, weights_TE, chosen_TE = getattr(layer, names.ROUTER)(read_TD)
    x_TD = norm(getattr(layer, names.BEFORE_EXPERTS), read_TD)
    routed_TD = getattr(layer, names.EXPERTS)(x_TD, chosen_TE, weights_TE)
    both = (names.AFTER_PLAIN, made_TD), (names.AFTER_EXPERTS, routed_TD)
    one_TD, other_TD = (norm(getattr(layer, name), x) for name, x in both)
    return one_TD + other_TD


def with_words(
    layer: Any,
    extras: Extras,
    stream_TD: torch.Tensor,
    words_TP: torch.Tensor,
    norm: Norm,
    held: Held,
    recomputes: bool,
) -> torch.Tensor:
    """The stream after the MLP, or several, plus what a token's vector for this layer adds."""
    read_TD = read_by_words(layer, stream_TD) if extras.several else stream_TD
    (gate_TP,) = project(read_TD, [getattr(layer, names.GATE)], held)
    words_TP = words_TP.to(gate_TP.dtype)
    again = None if recomputes else gated_again(gate_TP, words_TP, extras.words)
    by_word_TP = gated(gate_TP, words_TP, extras.words)
    (made_TD,) = project(by_word_TP, [getattr(layer, names.PROJECTION)], held, again)
    more_TD = norm(getattr(layer, names.PROJECTION_NORM), made_TD)
    return with_others(stream_TD, more_TD) if extras.several else stream_TD + more_TD


def sparse(gate_TF: torch.Tensor, share: float) -> torch.Tensor:
    """Gates above the value that this share of a normal distribution is below, the others zero.

    You et al. 2025, "Spark Transformer": mean and deviation are those of each row.
    """
    bound = statistics.NormalDist().inv_cdf(share)
    deviation_T1 = gate_TF.std(-1, keepdim=True, unbiased=False)
    return F.relu(gate_TF - (gate_TF.mean(-1, keepdim=True) + deviation_T1 * bound))


def scaled(layer: Any, extras: Extras, stream_TD: torch.Tensor) -> torch.Tensor:
    """The layer's output times its scalar."""
    if not extras.scalar:
        return stream_TD
    scalar: torch.Tensor = getattr(layer, extras.scalar)
    return stream_TD * scalar.to(stream_TD.dtype)


def words_of_layers(
    body: Any, ids_T: torch.Tensor, embedded_TD: torch.Tensor, step: int
) -> tuple[torch.Tensor, ...]:
    """For each layer, the vectors of each token, (T, P), by the model's own modules.

    Padded as the rows of a pack are, to a multiple of `step`.
    """
    given = (ids_T[None], embedded_TD[None])
    takes = len(inspect.signature(body.get_per_layer_inputs).parameters)  # one in Gemma 3n
    own = body.get_per_layer_inputs(*given[:takes])
    found_TLP: torch.Tensor = body.project_per_layer_inputs(embedded_TD[None], own)[0]
    # In one copy, whose gradient is put together once.
    return filled(found_TLP, step).transpose(0, 1).contiguous().unbind(0)
