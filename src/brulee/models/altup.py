"""Several streams of hidden states, of which a layer computes one (Gemma 3n).

    P = predict(streams)       each stream from all, one of them (the active) goes through the layer
    y = layer(P[active])
    C = correct(P, y)          every stream moves by a share of how far y is from P[active]

Baykal et al. 2023, "Alternating Updates for Efficient Transformers". The modules of the model are
called as they are; what is between, attention and MLP, is computed as in any other layer.

Shapes: `T` rows, `S` streams, `D` width; the model's own modules have (S, 1, T, D).
"""

from __future__ import annotations

from typing import Any

import torch

ALTUP, LAUREL = "altup", "laurel"
# The lists of linear layers in a body that make the other streams from the first, and one of all.
APART, TOGETHER = "altup_projections", "altup_unembed_projections"
LEAST = 1e-5  # of a square of a stream's magnitude


def begun(body: Any, first_TD: torch.Tensor) -> torch.Tensor:
    """The streams (T, S, D), all of the magnitude of the first, which they are made from."""
    others = [_sized(to(first_TD), first_TD) for to in getattr(body, APART)]
    return torch.stack([first_TD, *others], dim=1)


def ended(body: Any, streams_TSD: torch.Tensor) -> torch.Tensor:
    """The mean of the streams (T, D), brought back to what the first one is."""
    first_TD, *others = streams_TSD.unbind(1)
    back = [_sized(to(x), first_TD) for to, x in zip(getattr(body, TOGETHER), others, strict=True)]
    return torch.stack([first_TD, *back]).mean(0)


def predicted(layer: Any, streams_TSD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The predicted streams (T, S, D), and the active one among them, (T, D)."""
    own = getattr(layer, ALTUP)
    found_STD: torch.Tensor = own.predict(streams_TSD.transpose(0, 1)[:, None])[:, 0]
    return found_STD.transpose(0, 1), found_STD[own.config.altup_active_idx]


def beside(layer: Any, x_TD: torch.Tensor, stream_TD: torch.Tensor) -> torch.Tensor:
    """The stream after attention, and beside it a map of low rank of what attention read, (T, D).

    LAuReL (Menghani et al. 2024, "Learned Augmented Residual Layer").
    """
    found_TD: torch.Tensor = getattr(layer, LAUREL)(x_TD)
    return (stream_TD + found_TD) * 2**-0.5


def corrected(layer: Any, predicted_TSD: torch.Tensor, made_TD: torch.Tensor) -> torch.Tensor:
    """The corrected streams, (T, S, D)."""
    own = getattr(layer, ALTUP)
    found_STD: torch.Tensor = own.correct(predicted_TSD.transpose(0, 1)[:, None], made_TD[None])
    return found_STD[:, 0].transpose(0, 1)


def read_by_words(layer: Any, streams_TSD: torch.Tensor) -> torch.Tensor:
    """What the gate for a token's vector reads, (T, D): the active stream, scaled."""
    own = getattr(layer, ALTUP)
    active_TD = streams_TSD[:, own.config.altup_active_idx]
    if not own.config.altup_correct_scale:
        return active_TD
    found: torch.Tensor = own.scale_corrected_output(active_TD)
    return found


def with_others(streams_TSD: torch.Tensor, more_TD: torch.Tensor) -> torch.Tensor:
    """The streams, with an addition to all but the first."""
    first_T1D, others_TSD = streams_TSD[:, :1], streams_TSD[:, 1:]
    return torch.cat([first_T1D, others_TSD + more_TD[:, None]], dim=1)


def _sized(x_TD: torch.Tensor, like_TD: torch.Tensor) -> torch.Tensor:
    """X with the magnitude of another tensor, row by row."""
    x_TD = x_TD.to(like_TD.dtype)
    wanted_T1 = like_TD.square().mean(-1, keepdim=True).sqrt()
    own_T1 = x_TD.square().mean(-1, keepdim=True).clamp(min=LEAST).sqrt()
    return x_TD * wanted_T1 / own_T1
