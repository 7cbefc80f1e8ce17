"""Muon: the matrices of linear maps move along orthogonal ones, everything else by AdamW."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import torch
from torch.optim import AdamW, Optimizer

from brulee.training.whole import cut_as, whole

_MOMENTUM: Final = 0.95
# The quintic that drives singular values towards one, and how often (Jordan et al. 2024).
_QUINTIC: Final = (3.4445, -4.7750, 2.0315)
_TIMES: Final = 5
# With it an update has the root mean square that AdamW's usually have (Liu et al. 2025).
_AS_ADAMW: Final = 0.2
_TOGETHER: Final = 1 << 24  # values of matrices that are made orthogonal in one product


class Muon(Optimizer):
    """Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".

    Steps are scaled, and weights decayed, as in Liu et al. 2025, "Muon is Scalable for LLM
    Training", so that learning rates are AdamW's. `groups` have `params`, `lr`, `weight_decay` and
    `maps`: whether their parameters are matrices of linear maps, (..., R, C). Of these one number
    a value is kept, where AdamW keeps two. Matrices of one shape are made orthogonal together, on
    a GPU in bfloat16, elsewhere in fp32.
    """

    def __init__(
        self, groups: list[dict[str, Any]], betas: tuple[float, float], eps: float
    ) -> None:
        super().__init__(groups, {})
        rest = [group for group in self.param_groups if not group["maps"]]
        # Over the same groups and the same state: rates are set, and moments stored, in one place.
        self._rest = AdamW(rest, betas=betas, eps=eps, fused=True) if rest else None
        if self._rest is not None:
            self._rest.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        assert closure is None, "the loop has the gradient already"
        for group in self.param_groups:
            if group["maps"]:
                moved = [p for p in group["params"] if p.grad is not None]
                for alike in _alike(moved):
                    self._move(alike, group["lr"], group["weight_decay"])
        if self._rest is not None:
            self._rest.step()

    def _move(self, parameters: Sequence[torch.Tensor], lr: float, decay: float) -> None:
        ahead = []
        for parameter in parameters:
            state, gradient = self.state[parameter], parameter.grad
            assert gradient is not None
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(gradient)
            mean = state["momentum"].lerp_(gradient, 1.0 - _MOMENTUM)
            ahead.append(whole(gradient.lerp(mean, _MOMENTUM)))  # Nesterov's
        updates = orthogonal(torch.stack(ahead))
        length = _AS_ADAMW * math.sqrt(max(updates.shape[-2:]))
        for parameter, update in zip(parameters, updates.to(ahead[0].dtype), strict=True):
            parameter.mul_(1.0 - lr * decay)
            parameter.add_(cut_as(parameter, update), alpha=-lr * length)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Nearly U V^T of matrices U S V^T, (..., R, C): every singular value between 0.7 and 1.2.

    A matrix of zeros stays one. Newton-Schulz's iteration, in a quintic that is steep at zero.
    """
    x = matrices.to(torch.bfloat16 if matrices.is_cuda else torch.float32)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (torch.linalg.matrix_norm(x.float(), keepdim=True) + 1e-7).to(x.dtype)
    a, b, c = _QUINTIC
    for _ in range(_TIMES):
        squared = x @ x.mT
        x = a * x + (b * squared + c * squared @ squared) @ x
    found: torch.Tensor = x.mT if tall else x
    return found


def _alike(parameters: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Those of one shape, so many at a time; in an order that is the same in every process."""
    by_shape: dict[torch.Size, list[torch.Tensor]] = {}
    for parameter in parameters:
        by_shape.setdefault(parameter.shape, []).append(parameter)
    for shape, alike in by_shape.items():
        most = max(1, _TOGETHER // shape.numel())
        for start in range(0, len(alike), most):
            yield alike[start : start + most]
