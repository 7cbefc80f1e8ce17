"""Compute experts, each for the tokens routed to it, with low-rank corrections.

    tokens  a b c d          pairs of token and expert, sorted by expert
    experts 2 0 2 1    -->   b | d | a c    one product each with W_0, W_1, W_2
            0 1 1 2          a | b c | d    (two experts a token)

A correction is added to a product's outputs: x W^T + s (x A^T) B^T. PEFT adds s B A to W instead,
which recomputes every expert's weight in each pass, even if no token is routed to it. The base's
weights are frozen and get no gradient.

Shapes: `T` tokens, `K` experts a token, `S` = T K pairs, `N` pairs of one expert, `D` width, `E`
experts, `R` rank, `O` outputs, `I` inputs of a matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from brulee.models.experts import HELD, stacks_of

_FLAGS = ("has_gate", "has_bias", "is_transposed", "is_concatenated", "_apply_gate")


@dataclass(frozen=True)
class Correction:
    """Low-rank corrections of one matrix per expert: A (E, R, I), B (E, O, R) and their scale."""

    a: torch.Tensor
    b: torch.Tensor
    scale: float


def computes_as_known(module: Any) -> bool:
    """Whether experts declare that they follow transformers' interface for experts."""
    if not all(hasattr(module, name) for name in _FLAGS):
        return False
    others = getattr(module, "has_post_expert_norm", False) or getattr(
        module, "_is_expert_parallel", False
    )
    return not others and {stack.name for stack in stacks_of(module)} == {_up(module), "down_proj"}


def experts_with(
    module: Any,
    x_TD: torch.Tensor,
    index_TK: torch.Tensor,
    weights_TK: torch.Tensor,
    up: Correction | None,
    down: Correction | None,
) -> torch.Tensor:
    """The experts' weighted outputs (T, D), with corrections of their two linear layers."""
    factors = [side for each in (up, down) for side in ((each.a, each.b) if each else (None, None))]
    scales = tuple(each.scale if each else 0.0 for each in (up, down))
    apply: Callable[..., torch.Tensor] = _Experts.apply  # torch leaves it untyped
    return apply(module, index_TK, scales, x_TD, weights_TK, *factors)


@dataclass(frozen=True)
class _Map:
    """One of the two linear layers of all experts, computed in `dtype`."""

    matrix: Callable[[int], torch.Tensor]
    bias: torch.Tensor | None
    transposed: bool
    a: torch.Tensor | None
    b: torch.Tensor | None
    scale: float
    dtype: torch.dtype

    def of(self, expert: int) -> torch.Tensor:
        """An expert's matrix (O, I)."""
        own = self.matrix(expert)
        return (own.T if self.transposed else own).to(self.dtype)

    def forward(self, x_NI: torch.Tensor, expert: int) -> torch.Tensor:
        bias = None if self.bias is None else self.bias[expert].to(self.dtype)
        out_NO = F.linear(x_NI, self.of(expert), bias)
        if self.a is not None and self.b is not None:
            out_NO.add_(F.linear(F.linear(x_NI, self.a[expert]), self.b[expert]), alpha=self.scale)
        return out_NO

    def backward(self, d_NO: torch.Tensor, expert: int) -> torch.Tensor:
        """The gradient of the input from that of the output."""
        d_NI = d_NO @ self.of(expert)
        if self.a is not None and self.b is not None:
            d_NI.addmm_(d_NO @ self.b[expert], self.a[expert], alpha=self.scale)
        return d_NI

    def learn(self, grads: _Grads, x_NI: torch.Tensor, d_NO: torch.Tensor, expert: int) -> None:
        """Store an expert's gradients of A and B in `grads`."""
        if self.a is None or self.b is None or grads.a is None or grads.b is None:
            return
        grads.a[expert] = self.scale * ((d_NO @ self.b[expert]).T @ x_NI)
        grads.b[expert] = self.scale * (d_NO.T @ F.linear(x_NI, self.a[expert]))


@dataclass(frozen=True)
class _Grads:
    a: torch.Tensor | None
    b: torch.Tensor | None

    @classmethod
    def of(cls, a: torch.Tensor | None, b: torch.Tensor | None) -> _Grads:
        return cls(*(None if side is None else torch.zeros_like(side) for side in (a, b)))


class _Experts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        module: Any,
        index_TK: torch.Tensor,
        scales: tuple[float, float],
        x_TD: torch.Tensor,
        weights_TK: torch.Tensor,
        *factors: torch.Tensor | None,
    ) -> torch.Tensor:
        dtype = _format(module, x_TD)
        first, second = _maps(module, factors, scales, dtype)
        order_S, counts = _sorted(index_TK, module.num_experts)
        token_S = order_S // index_TK.shape[1]
        weight_S = weights_TK.reshape(-1)[order_S]
        wide = torch.promote_types(dtype, weights_TK.dtype)
        total_TD = torch.zeros_like(x_TD, dtype=wide)
        given_S, made = x_TD.to(dtype)[token_S], []
        for expert, rows in _spans(counts):
            made.append(first.forward(given_S[rows], expert))
            out_ND = second.forward(_gated(module, made[-1]), expert)
            total_TD.index_add_(0, token_S[rows], out_ND * weight_S[rows, None].to(wide))
        halves_SO = torch.cat(made)
        ctx.save_for_backward(x_TD, weights_TK, halves_SO, order_S, *factors)
        ctx.module, ctx.scales, ctx.counts, ctx.dtype = module, scales, counts, dtype
        return total_TD.to(x_TD.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        x_TD, weights_TK, halves_SO, order_S, *factors = ctx.saved_tensors
        module, dtype = ctx.module, ctx.dtype
        first, second = _maps(module, factors, ctx.scales, dtype)
        learned = _Grads.of(*factors[:2]), _Grads.of(*factors[2:])
        token_S = order_S // weights_TK.shape[1]
        weight_S = weights_TK.reshape(-1)[order_S].to(dtype)
        given_S, d_S = x_TD.to(dtype)[token_S], grads[0].to(dtype)[token_S]
        d_x_TD = torch.zeros_like(x_TD, dtype=dtype)
        d_weight_S = torch.zeros_like(weights_TK).reshape(-1)
        for expert, rows in _spans(ctx.counts):
            with torch.enable_grad():
                half_NO = halves_SO[rows].detach().requires_grad_()
                inner_NI = _gated(module, half_NO)
            inner = inner_NI.detach()
            d_inner = second.backward(d_S[rows], expert)  # without the router's weight
            share = (d_inner * inner).sum(1)
            if second.bias is not None:
                share = share + d_S[rows] @ second.bias[expert].to(dtype)
            d_weight_S[order_S[rows]] = share.to(d_weight_S.dtype)
            weight_N1 = weight_S[rows, None]
            second.learn(learned[1], inner, d_S[rows] * weight_N1, expert)
            (d_half,) = torch.autograd.grad(inner_NI, half_NO, d_inner * weight_N1)
            first.learn(learned[0], given_S[rows], d_half, expert)
            d_x_TD.index_add_(0, token_S[rows], first.backward(d_half, expert))
        each = (side for pair in learned for side in (pair.a, pair.b))
        d_weights = d_weight_S.view_as(weights_TK)
        return None, None, None, d_x_TD.to(x_TD.dtype), d_weights, *each


def _up(module: Any) -> str:
    return "gate_up_proj" if module.has_gate else "up_proj"


def _gated(module: Any, half_NO: torch.Tensor) -> torch.Tensor:
    """The input of an expert's second linear layer."""
    made: torch.Tensor = module._apply_gate(half_NO) if module.has_gate else module.act_fn(half_NO)
    return made


def _maps(
    module: Any, factors: Any, scales: tuple[float, float], dtype: torch.dtype
) -> tuple[_Map, _Map]:
    cast = [None if side is None else side.detach().to(dtype) for side in factors]
    found = []
    for at, name in enumerate((_up(module), "down_proj")):
        bias = getattr(module, f"{name}_bias") if module.has_bias else None
        sides = cast[2 * at], cast[2 * at + 1]
        turned = module.is_transposed
        found.append(
            _Map(_matrices(module, name), bias, turned, *sides, scale=scales[at], dtype=dtype)
        )
    return found[0], found[1]


def _matrices(module: Any, name: str) -> Callable[[int], torch.Tensor]:
    """A function from an expert's number to its matrix, unpacked if it is in four bits."""
    if HELD in vars(module):
        return partial(module.matrix, name)
    weight: torch.Tensor = getattr(module, name)
    return weight.detach().__getitem__


def _sorted(index_TK: torch.Tensor, experts: int) -> tuple[torch.Tensor, list[int]]:
    """The order of the pairs by expert, and the number of pairs of each expert."""
    flat = index_TK.reshape(-1)
    return flat.argsort(stable=True), torch.bincount(flat, minlength=experts).tolist()


def _spans(counts: list[int]) -> Iterator[tuple[int, slice]]:
    """Every expert that has tokens, and its slice of the sorted pairs."""
    start = 0
    for expert, count in enumerate(counts):
        if count:
            yield expert, slice(start, start + count)
        start += count


def _format(module: Any, x: torch.Tensor) -> torch.dtype:
    """The dtype of the products: autocast's if it is on, else that of the weights."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    dtype: torch.dtype = module.dtype if HELD in vars(module) else module.down_proj.dtype
    return dtype
