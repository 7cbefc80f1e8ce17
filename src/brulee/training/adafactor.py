"""Adafactor: a step scaled by the gradients' mean squares, of which rows and columns are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch.optim import Optimizer

from brulee.training.whole import cut_as, whole

_LEAST: Final = 1e-30  # added to squares
_DECAY: Final = -0.8  # the share of the new squares is steps ** _DECAY
_LONGEST: Final = 1.0  # root mean square of an update, in learning rates


class Adafactor(Optimizer):
    """Shazeer and Stern 2018, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost".

    Of a matrix (R, C) R + C numbers are kept, where AdamW keeps two for every value; there is no
    mean of gradients. Learning rates are of AdamW's size: steps are neither relative to the
    weights nor follow a schedule of their own, as transformers' Trainer sets it. `groups` have
    `params`, `lr` and `weight_decay`, which is decoupled.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        assert closure is None, "the loop has the gradient already"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update = _update(whole(parameter.grad).float(), self.state[parameter])
                    parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
                    parameter.add_(cut_as(parameter, update), alpha=-group["lr"])


def _update(gradient: torch.Tensor, state: dict[str, Any]) -> torch.Tensor:
    """What to take off, in learning rates."""
    # Read back from a checkpoint it is a tensor, whose value is asked for once.
    state["step"] = int(state.get("step", 0)) + 1
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
    """The running mean with `share` of what is new; the first step's share is all."""
    # A checkpoint's was cut up as the parameter is, if it has its shape.
    state[name] = whole(state[name]).lerp_(new, share) if name in state else new
    held: torch.Tensor = state[name]
    return held
