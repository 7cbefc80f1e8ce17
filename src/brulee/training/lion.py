"""Lion: steps of one size, by the sign of a mean of gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


class Lion(Optimizer):
    """Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", algorithm 2.

    For each weight it keeps one value, the momentum, where AdamW keeps two. Every weight moves by
    the learning rate, which should be three to ten times smaller than AdamW's, with a weight decay
    larger by as much. `groups` have `params`, `lr` and `weight_decay`, which is decoupled.
    """

    def __init__(self, groups: list[dict[str, Any]], betas: tuple[float, float]) -> None:
        super().__init__(groups, {})
        self._of_step, self._of_mean = betas

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        assert closure is None, "the loop has the gradient already"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group["lr"], group["weight_decay"])

    def _move(
        self, parameter: torch.Tensor, gradient: torch.Tensor, lr: float, decay: float
    ) -> None:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        mean = state["momentum"]
        direction = mean.lerp(gradient, 1.0 - self._of_step).sign_()
        parameter.mul_(1.0 - lr * decay).add_(direction, alpha=-lr)
        mean.lerp_(gradient, 1.0 - self._of_mean)
