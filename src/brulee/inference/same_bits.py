"""Batch-invariant linear maps and attention: in fp32 on a CPU, bitwise the same in any batch.

A score should depend on its request only: not on the batch, nor on the division into passes.
PyTorch on a CPU does not ensure that. MKL's matrix products sum in a different order for few rows,
for some intermediate numbers of rows, and for other numbers of terms; fused attention divides its
work by the numbers of queries and keys. Here
- a linear map is a C loop of ours, in which each value is one sum in the order of its terms
  (kernels/products.c), so is a low-rank correction, and attention is two products by this loop;
- grouped products of experts are computed one expert at a time, by the same maps.
With AVX-512, a linear map goes through oneDNN, if its sums do not depend on the number of rows from
two on, and attention's second product, over the keys, is computed in blocks of equal size that are
added in order. Without a C compiler it is the same, but MKL's kernels for AVX2 do not guarantee it.

Shapes: `T` queries, `S` keys, `H` query heads, `K` key heads, `G` = H / K, `D` head width, `E` that
of values.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from brulee.models.attention import by_torch
from brulee.models.kernels import kernel

# Rows of a pass are padded to a multiple of this where linear maps are not loops of ours: MKL sums
# in a different order for fewer than about eight rows.
ROWS = 16
KEYS = 192
# Up to so many terms our loop takes half the time of oneDNN, with AVX-512 too.
_FEW_TERMS = 32
_TRIED_ROWS = (2, 3, 7, 16, 40, 80, 300)
_TRIED_TERMS = 576
_GROUPED = getattr(torch, "_grouped_mm", None)  # transformers computes experts with it
_OPERATOR = type(torch.ops.aten.add)
# Some builds of PyTorch lack it; there, linear maps without our loop stay unchanged.
_ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise")


def up(count: int, step: int = ROWS) -> int:
    """The next multiple of step."""
    return -(-count // step) * step


def filled(count: int, model: PreTrainedModel) -> int:
    """The number of rows that a pass needs for `count` of them to be batch-invariant.

    No more than `count` with loops of ours, where a single row takes half the time of 16.
    """
    like = model.get_input_embeddings().weight
    plain = like.dtype == torch.float32 and like.device.type == "cpu"
    return count if plain and _loop(like) is not None else up(count)


@functools.cache
def _by_onednn() -> bool:
    return (
        _ONEDNN
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and _onednn_is_invariant()
    )


@torch.no_grad()
def _onednn_is_invariant() -> bool:
    """Whether rows of oneDNN's products have the same bits in any number; not in torch 2.11."""
    draw = torch.Generator().manual_seed(0)
    rows, weight = (torch.randn(n, _TRIED_TERMS, generator=draw) for n in (_TRIED_ROWS[-1], 192))
    of_all = _onednn(rows, weight)
    return all(torch.equal(_onednn(rows[:n], weight), of_all[:n]) for n in _TRIED_ROWS)


def _onednn(
    rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return out


def _loop(x: torch.Tensor) -> Callable[..., None] | None:
    """The C loop for linear maps of x, (N, I) in fp32 on a CPU; None if oneDNN or PyTorch does."""
    return None if _by_onednn() else kernel("linear", x)


class SameBits(TorchFunctionMode):
    """In this block, fp32 linear maps on a CPU give a row the same bits in any batch."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace the functions that linear maps of models and methods call."""
        del types
        if func is F.linear and not kwargs and _plain(args[0]) and _plain(args[1]):
            return _linear(*args)
        if func is torch.addmm and not kwargs and _plain(args[1]) and _plain(args[2]):
            bias, rows, weight = args  # GPT-2's maps, whose weights are transposed
            return _linear(rows, weight.t(), bias)
        if func is torch.Tensor.addmm_ and all(map(_plain, args)):
            return _corrected(*args, **(kwargs or {}))
        if _is_grouped(func) and _plain(args[0]) and _plain(args[1]):
            return _grouped(args[0], args[1], kwargs["offs"] if kwargs else args[2])
        return func(*args, **(kwargs or {}))


def _is_grouped(func: Any) -> bool:
    if func is _GROUPED:
        return True
    # This runs for every tensor operation, and comparing types is faster than formatting names.
    return isinstance(func, _OPERATOR) and str(func) == "transformers.grouped_mm_fallback"


def _grouped(rows_SI: torch.Tensor, weight_EIO: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """Rows (S, I) sorted by expert, times their expert's weight; `ends` are cumulative counts."""
    out_SO, start = rows_SI.new_zeros(len(rows_SI), weight_EIO.shape[2]), 0
    for weight_IO, end in zip(weight_EIO, ends.tolist(), strict=True):
        if end > start:
            out_SO[start:end] = _linear(rows_SI[start:end], weight_IO.t())
        start = end
    return out_SO


def _plain(x: torch.Tensor) -> bool:
    return (
        x.dtype == torch.float32
        and x.device.type == "cpu"
        and (_ONEDNN or _loop(x) is not None)
        and x.layout == torch.strided
        and x.dim() >= 2
        and x.numel() > 0
        and not (x.requires_grad and torch.is_grad_enabled())
    )


def _linear(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    rows = x.reshape(-1, x.shape[-1])
    shape = *x.shape[:-1], len(weight)
    run = _loop(x)
    if run is not None:
        return _by_loop(run, rows, weight, bias).view(shape)
    if len(rows) == 1:  # a single row would use another kernel
        rows = rows.expand(2, -1).contiguous()
    return _onednn(rows, weight, bias)[: x.shape[:-1].numel()].view(shape)


def _corrected(
    out_NO: torch.Tensor, rows_NR: torch.Tensor, weight_RO: torch.Tensor, *, alpha: float = 1.0
) -> torch.Tensor:
    """Add alpha times a low-rank correction in place."""
    weight_OR = weight_RO.t()
    run = kernel("linear", rows_NR) if rows_NR.shape[1] <= _FEW_TERMS else None
    made = _linear(rows_NR, weight_OR) if run is None else _by_loop(run, rows_NR, weight_OR)
    return out_NO.add_(made, alpha=alpha)


def _by_loop(
    run: Callable[..., None],
    rows: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Rows (N, I) times a weight (O, I) of any strides; (N, O)."""
    rows, bias = rows.contiguous(), bias if bias is None else bias.contiguous()
    out = rows.new_empty(len(rows), len(weight))
    run(rows, weight, bias, out, len(rows), rows.shape[1], len(weight), *weight.stride())
    return out


def attended(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask_TS: torch.Tensor,
    scaling: float | None,
) -> torch.Tensor:
    """Attention with an additive mask: query (1, H, T, D), key (1, K, S, D); (1, T, H, E)."""
    if query.dtype == torch.float32 and query.device.type == "cpu":
        return _by_products(query[0], key[0], value[0], mask_TS, scaling)[None]
    out = by_torch(query, key, value, mask_TS, scaling)
    return out.transpose(1, 2)


def _by_products(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask_TS: torch.Tensor,
    scaling: float | None,
) -> torch.Tensor:
    H, T, D = query.shape
    K, S, _ = key.shape
    grouped = query.view(K, H // K, T, D).reshape(K, -1, D)
    grouped = grouped * (D**-0.5 if scaling is None else scaling)
    run = _loop(query)
    if run is not None:
        scores = torch.stack([_by_loop(run, q, k) for q, k in zip(grouped, key, strict=True)])
        weights = scores.view(H, T, S).add_(mask_TS).softmax(dim=-1).view(K, -1, S)
        read = [_by_loop(run, w, v.t()) for w, v in zip(weights, value, strict=True)]
        return torch.stack(read).view(H, T, value.shape[2]).transpose(0, 1)
    scores = torch.bmm(grouped, key.transpose(1, 2)).view(H, T, S)
    weights = scores.add_(mask_TS).softmax(dim=-1).view(K, -1, S)
    out = torch.bmm(weights[..., :KEYS], value[:, :KEYS])
    for start in range(KEYS, S, KEYS):
        block = slice(start, start + KEYS)
        out.baddbmm_(weights[..., block], value[:, block])
    return out.view(H, T, value.shape[2]).transpose(0, 1)
