"""Linear layers with a common input, and their low-rank corrections, in one autograd function.

The projections to queries, keys and values read the same x, and so do the two of a gated MLP. Under
autograd, each layer and each correction saves x or a copy, returns its own gradient of x to be
summed, and computes gradients that nothing needs. Here x is saved once or recomputed, the
corrections' first halves are one product, and the gradient of x is accumulated inside the products:

    H  = x [A_1; A_2; ...]^T                 y_i = x W_i^T + bias_i + s_i H_i B_i^T
    dH = [s_i dy_i B_i]                      dx  = sum_i dy_i W_i + dH [A_1; A_2; ...]

With dropout before A, each correction reads a different x, which is recomputed from a seed in the
backward pass (dropping.py) instead of saved.

Shapes: `T` tokens, `I` inputs, `O` outputs of one layer, `R` rank of one, `S` sum of all ranks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from brulee.models.dropping import drawn_seed, drop
from brulee.models.held import Held
from brulee.models.linear_parts import LinearParts, parts_of

Again = Callable[[], torch.Tensor]
_PER_MAP = 4  # differentiable tensors of a layer: weight, bias, A, B


def project(
    x_TI: torch.Tensor, modules: Sequence[nn.Module], held: Held, again: Again | None = None
) -> tuple[torch.Tensor, ...]:
    """The outputs of all modules for x, (T, O) each.

    If one has no `LinearParts`, all modules are called as they are. With `again`, which recomputes
    x, x is not saved for the backward pass.
    """
    parts = [parts_of(module) for module in modules]
    separable = [part for part in parts if part is not None]
    # On a GPU, torch's own dropout is a single launch.
    if len(separable) < len(parts) or (x_TI.is_cuda and any(p.dropout for p in separable)):
        return tuple(module(x_TI) for module in modules)
    x_TI = x_TI.to(held.dtype)
    tensors = [t for p in separable for t in (p.trainable_weight, p.bias, p.a, p.b)]
    apply: Callable[..., tuple[torch.Tensor, ...]] = _Project.apply  # torch leaves it untyped
    return apply(x_TI, [held.of(p) for p in separable], again, *tensors)


class _Project(torch.autograd.Function):
    """`maps` are the parts in the dtype of x; `trained` are the original tensors, for autograd."""

    @staticmethod
    def forward(
        ctx: Any,
        x_TI: torch.Tensor,
        maps: list[LinearParts],
        again: Again | None,
        *trained: torch.Tensor | None,
    ) -> tuple[torch.Tensor, ...]:
        a_SI, ctx.seeds = _stacked([m.a for m in maps]), _seeds(maps)
        h_TS = _first_halves(x_TI, maps, a_SI, ctx.seeds)
        outs = []
        for m, h_TR in zip(maps, _shares(h_TS, maps), strict=True):
            y_TO = _affine(x_TI, m)
            if h_TR is not None and m.b is not None:
                y_TO.addmm_(h_TR, m.b.T, alpha=m.scale)
            outs.append(y_TO)
        ctx.save_for_backward(None if again else x_TI, h_TS, a_SI)
        ctx.maps, ctx.again = maps, again
        ctx.wide = next((t.dtype for t in trained if t is not None and t.requires_grad), None)
        return tuple(outs)

    @staticmethod
    def backward(ctx: Any, *d_outs: torch.Tensor) -> tuple[Any, ...]:
        x_TI, h_TS, a_SI = ctx.saved_tensors
        maps: list[LinearParts] = ctx.maps
        flags = ctx.needs_input_grad[3:]
        wanted = [flags[at : at + _PER_MAP] for at in range(0, len(flags), _PER_MAP)]
        if ctx.again is not None and (a_SI is not None or any(w for w, *_ in wanted)):
            x_TI = ctx.again()
        ctx.again = None  # frees what it refers to
        d_hs = [_d_h(m, d_y) for m, d_y in zip(maps, d_outs, strict=True)]
        d_x, d_a_SI = None, None
        if ctx.needs_input_grad[0]:
            d_x = d_outs[0] @ maps[0].matrix(d_outs[0].dtype)
            for m, d_y in zip(maps[1:], d_outs[1:], strict=True):
                d_x.addmm_(d_y, m.matrix(d_y.dtype))
        if a_SI is not None:
            present = [d_h for d_h in d_hs if d_h is not None]
            if ctx.seeds is None:
                d_h_TS = _joined(present, dim=1)
                d_a_SI = _gradient(d_h_TS.T, x_TI, ctx.wide)
                d_x = None if d_x is None else d_x.addmm_(d_h_TS, a_SI)
            else:
                d_a_SI = _through_dropout(present, x_TI, maps, ctx.seeds, d_x)
        own = zip(maps, d_outs, _shares(h_TS, maps), _ranks(d_a_SI, maps), wanted, strict=True)
        grads = [grad for each in own for grad in _of_map(ctx.wide, x_TI, *each)]
        return d_x, None, None, *grads


def _seeds(maps: Sequence[LinearParts]) -> list[int] | None:
    """A seed for each correction; None without dropout."""
    corrected = [m for m in maps if m.a is not None]
    return [drawn_seed() for _ in corrected] if any(m.dropout for m in corrected) else None


def _first_halves(
    x_TI: torch.Tensor,
    maps: Sequence[LinearParts],
    a_SI: torch.Tensor | None,
    seeds: Sequence[int] | None,
) -> torch.Tensor | None:
    """H (T, S); None if no layer has a correction."""
    if a_SI is None or seeds is None:
        return None if a_SI is None else x_TI @ a_SI.T
    each = zip((m for m in maps if m.a is not None), seeds, strict=True)
    return _joined([drop(x_TI, m.dropout, seed) @ _a(m).T for m, seed in each], dim=1)


def _through_dropout(
    d_hs: Sequence[torch.Tensor],
    x_TI: torch.Tensor,
    maps: Sequence[LinearParts],
    seeds: Sequence[int],
    d_x: torch.Tensor | None,
) -> torch.Tensor:
    """The gradient of the stacked A (S, I); the gradient of x is added to `d_x`."""
    d_as = []
    each = zip((m for m in maps if m.a is not None), seeds, d_hs, strict=True)
    for m, seed, d_h in each:
        read_TI = drop(x_TI, m.dropout, seed)
        d_as.append(d_h.T @ read_TI)
        if d_x is not None:
            torch.mm(d_h, _a(m), out=read_TI)
            d_x.add_(drop(read_TI, m.dropout, seed, into=read_TI))
    return torch.cat(d_as)


def _a(m: LinearParts) -> torch.Tensor:
    assert m.a is not None, "one with a correction"
    return m.a


def _d_h(m: LinearParts, d_y: torch.Tensor) -> torch.Tensor | None:
    """The gradient of H_i = x A^T, (T, R); None without a correction."""
    return None if m.b is None else _product(d_y, m.b, m.scale)


def _of_map(
    wide: torch.dtype | None,
    x_TI: torch.Tensor | None,
    m: LinearParts,
    d_y: torch.Tensor,
    h_TR: torch.Tensor | None,
    d_a: torch.Tensor | None,
    wanted: tuple[bool, ...],
) -> list[torch.Tensor | None]:
    """The gradients of weight, bias, A and B; None for those that are not needed."""
    weight, bias, a, b = wanted
    d_weight = None
    if weight and x_TI is not None:
        sides = (x_TI.T, d_y) if m.turned else (d_y.T, x_TI)
        d_weight = _gradient(*sides, wide)
    return [
        d_weight,
        d_y.sum(0) if bias else None,
        d_a if a else None,
        _scaled_gradient(d_y.T, h_TR, m.scale, wide) if b and h_TR is not None else None,
    ]


def _gradient(a: torch.Tensor, b: torch.Tensor, wide: torch.dtype | None) -> torch.Tensor:
    """A b; on a GPU directly in the dtype of trained tensors, which saves autograd's cast."""
    if wide == torch.float32 != a.dtype and a.is_cuda and _widens(a.device, a.dtype):
        return torch.mm(a, b, out_dtype=wide)
    return a @ b


def _scaled_gradient(
    a: torch.Tensor, b: torch.Tensor, times: float, wide: torch.dtype | None
) -> torch.Tensor:
    """A b times a scalar, like `_gradient`."""
    if wide == torch.float32 != a.dtype and a.is_cuda and _scales_and_widens(a.device, a.dtype):
        nothing = a.new_empty((), dtype=wide)
        return torch.addmm(nothing, a, b, out_dtype=wide, beta=0, alpha=times)
    return _product(a, b, times)


@functools.cache
def _widens(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch.mm takes `out_dtype` on this device, by a test."""
    one = torch.eye(16, dtype=dtype, device=device)
    try:
        found = torch.mm(one, 3 * one, out_dtype=torch.float32)
    except (RuntimeError, TypeError):
        return False
    return torch.equal(found, 3.0 * one.float())


@functools.cache
def _scales_and_widens(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch.addmm takes `out_dtype` and scales on this device, by a test."""
    one = torch.eye(16, dtype=dtype, device=device)
    nothing = one.new_full((), torch.nan, dtype=torch.float32)
    try:
        found = torch.addmm(nothing, one, one, out_dtype=torch.float32, beta=0, alpha=3.0)
    except (RuntimeError, TypeError):
        return False
    return torch.equal(found, 3.0 * one.float())


def _product(a: torch.Tensor, b: torch.Tensor, times: float) -> torch.Tensor:
    """A b times a scalar, in one launch."""
    return torch.addmm(a.new_empty(()), a, b, beta=0, alpha=times)  # beta 0: the first is not read


def _affine(x_TI: torch.Tensor, m: LinearParts) -> torch.Tensor:
    w_OI = m.matrix(x_TI.dtype)
    return x_TI @ w_OI.T if m.bias is None else torch.addmm(m.bias, x_TI, w_OI.T)


def _stacked(matrices: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    """Matrices (R, I) stacked to (S, I); None if there are none."""
    present = [matrix for matrix in matrices if matrix is not None]
    return _joined(present, dim=0) if present else None


def _joined(matrices: Sequence[torch.Tensor], dim: int) -> torch.Tensor:
    """Concatenate; a single matrix is not copied."""
    return matrices[0] if len(matrices) == 1 else torch.cat(list(matrices), dim=dim)


def _shares(h_TS: torch.Tensor | None, maps: Sequence[LinearParts]) -> list[torch.Tensor | None]:
    """The columns of each layer; None for one without a correction."""
    if h_TS is None:
        return [None] * len(maps)
    sizes = [0 if m.a is None else m.a.shape[0] for m in maps]
    columns = h_TS.split_with_sizes(sizes, dim=1)
    return [c if size else None for c, size in zip(columns, sizes, strict=True)]


def _ranks(d_a_SI: torch.Tensor | None, maps: Sequence[LinearParts]) -> list[torch.Tensor | None]:
    """The rows of each layer; None for one without a correction."""
    shares = _shares(None if d_a_SI is None else d_a_SI.T, maps)
    return [None if share is None else share.T for share in shares]
