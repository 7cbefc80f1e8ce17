"""The norms of a decoder as its form describes them: RMSNorm, or LayerNorm if `centred`.

LayerNorm (Ba et al. 2016, arXiv 1607.06450), with or without a bias, is computed by PyTorch's own
function, RMSNorm by fused_norm.py. A norm without a weight has a gain of one.

Shapes: `T` tokens, `D` width; more dimensions may precede D.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from brulee.models.fused_norm import gain_of, rms_norm, rms_norm_again

_EPSILONS = ("variance_epsilon", "eps")
_ANY = 8


def eps_of(norm: Any) -> float | None:
    """The epsilon of a norm; None for a module that is not a norm."""
    found = (getattr(norm, name, None) for name in _EPSILONS)
    return next((float(eps) for eps in found if isinstance(eps, float | int)), None)


def width_of(norm: Any) -> int | None:
    """The width that a norm takes, `_ANY` if it takes each; None for a module that is not a norm.

    A norm without a weight may have its epsilon in its code only (OLMo).
    """
    weight: torch.Tensor | None = getattr(norm, "weight", None)
    shape: tuple[int, ...] = getattr(norm, "normalized_shape", ())
    if weight is not None:
        return len(weight) if eps_of(norm) is not None and weight.ndim == 1 else None
    if [*norm.parameters(), *norm.children()]:
        return None
    if len(shape) == 1:
        return int(shape[0])
    return None if shape or eps_of(norm) is None else _ANY


def normed(
    norm: Any, x_TD: torch.Tensor, beyond: float, centred: bool, dtype: torch.dtype
) -> torch.Tensor:
    """X (..., D) normalised, in `dtype`; the gain is the norm's weight + `beyond`."""
    gain_D, eps = _gain(norm, x_TD, beyond), eps_of(norm) or 0.0
    if centred and getattr(norm, "weight", None) is None:
        found: torch.Tensor = norm(x_TD)
        return found.to(dtype)
    if not centred:
        return rms_norm(x_TD, gain_D, eps, dtype)
    bias_D = getattr(norm, "bias", None)
    wide = x_TD.dtype
    for side in (gain_D, bias_D):
        wide = wide if side is None else torch.promote_types(wide, side.dtype)
    bias_D = None if bias_D is None else bias_D.to(wide)
    return F.layer_norm(x_TD.to(wide), gain_D.shape, gain_D.to(wide), bias_D, eps).to(dtype)


def normed_again(
    norm: Any, x_TD: torch.Tensor, beyond: float, centred: bool, dtype: torch.dtype
) -> Callable[[], torch.Tensor]:
    """A function that recomputes `normed` without a gradient."""
    if not centred:
        gain_D = _gain(norm, x_TD, beyond)
        return rms_norm_again(x_TD, gain_D, eps_of(norm) or 0.0, dtype)
    x_TD = x_TD.detach()

    def again() -> torch.Tensor:
        with torch.no_grad():
            return normed(norm, x_TD, beyond, centred, dtype)

    return again


def _gain(norm: Any, x_TD: torch.Tensor, beyond: float) -> torch.Tensor:
    weight_D = getattr(norm, "weight", None)
    return x_TD.new_ones(x_TD.shape[-1]) if weight_D is None else gain_of(weight_D, beyond)
