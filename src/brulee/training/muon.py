"""Muon: orthogonalised updates for the matrices of linear layers, AdamW for everything else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import torch
from torch.optim import AdamW, Optimizer

from brulee.training.whole import cut_as, whole

_MOMENTUM: Final = 0.95
# The quintic that moves singular values towards one, and its iterations (Jordan et al. 2024).
_QUINTIC: Final = (3.4445, -4.7750, 2.0315)
_TIMES: Final = 5
# Gives an update the root mean square of a typical AdamW update (Liu et al. 2025).
_AS_ADAMW: Final = 0.2
_TOGETHER: Final = 1 << 24  # values of matrices orthogonalised in one batch


class Muon(Optimizer):
    """Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".

    Updates are scaled, and weights decayed, as in Liu et al. 2025, "Muon is Scalable for LLM
    Training", so that learning rates are comparable to AdamW's. `groups` have `params`, `lr`,
    `weight_decay` and `maps`: whether their parameters are matrices of linear layers, (..., R, C).
    For these it keeps one value per weight, where AdamW keeps two. Matrices of the same shape are
    orthogonalised together, on a GPU in bfloat16, elsewhere in fp32.
    """

    def __init__(
        self, groups: list[dict[str, Any]], betas: tuple[float, float], eps: float
    ) -> None:
        super().__init__(groups, {})
        rest = [group for group in self.param_groups if not group["maps"]]
        # It shares groups and state, so that rates are set, and moments stored, in one place.
        self._rest = AdamW(rest, betas=betas, eps=eps, fused=True) if rest else None
        if self._rest is not None:
            self._rest.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
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
    """Approximately U V^T for matrices U S V^T, (..., R, C): singular values between 0.7 and 1.2.

    A zero matrix stays zero. Newton-Schulz iteration with a quintic that is steep at zero.
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
    """Parameters of the same shape, in batches, in an order that is the same in every process."""
    by_shape: dict[torch.Size, list[torch.Tensor]] = {}
    for parameter in parameters:
        by_shape.setdefault(parameter.shape, []).append(parameter)
    for shape, alike in by_shape.items():
        most = max(1, _TOGETHER // shape.numel())
        for start in range(0, len(alike), most):
            yield alike[start : start + most]
