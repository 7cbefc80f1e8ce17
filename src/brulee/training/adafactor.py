"""Adafactor: steps scaled by the mean squared gradients, of which it keeps row and column means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch.optim import Optimizer

from brulee.training.whole import cut_as, whole

_LEAST: Final = 1e-30  # added to squares
_DECAY: Final = -0.8  # the weight of the new squares is steps ** _DECAY
_LONGEST: Final = 1.0  # largest root mean square of an update, in learning rates


class Adafactor(Optimizer):
    """Shazeer and Stern 2018, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost".

    For a matrix (R, C) it keeps R + C values, where AdamW keeps two per weight; there is no first
    moment. Learning rates are comparable to AdamW's: steps are neither relative to the weights nor
    on an internal schedule, as in transformers' Trainer. `groups` have `params`, `lr` and
    `weight_decay`, which is decoupled.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        assert closure is None, "the loop has the gradient already"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update = _update(whole(parameter.grad).float(), self.state[parameter])
                    parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
                    parameter.add_(cut_as(parameter, update), alpha=-group["lr"])


def _update(gradient: torch.Tensor, state: dict[str, Any]) -> torch.Tensor:
    """The update to subtract, in learning rates."""
    state["step"] = state.get("step", 0) + 1
    share = state["step"] ** _DECAY
    square = gradient.square() + _LEAST
    if gradient.ndim < 2:
        update = gradient * _mean(state, "square", square, share).rsqrt()
    else:
        row = _mean(state, "row", square.mean(-1), share)
        column = _mean(state, "column", square.mean(-2), share)
        of_rows = (row / row.mean(-1, keepdim=True)).rsqrt()
        update = gradient * of_rows.unsqueeze(-1) * column.rsqrt().unsqueeze(-2)
    length = update.square().mean().sqrt()
    return update / (length / _LONGEST).clamp(min=1.0)


def _mean(state: dict[str, Any], name: str, new: torch.Tensor, share: float) -> torch.Tensor:
    """The running mean, with weight `share` for the new value; the first step sets it."""
    # A restored one is sharded like the parameter if it has its shape.
    state[name] = whole(state[name]).lerp_(new, share) if name in state else new
    held: torch.Tensor = state[name]
    return held
