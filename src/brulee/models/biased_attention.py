"""Attention inside the documents of a pack, with T5's relative position biases.

    weights = softmax(scale q k^T + bias)        out = dropout(weights) v

Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
Transformer". BART has no bias, but a scale. The first keys may be a prefix for all documents. On a
CPU, each document takes a few matrix products (`_Attend`), and the weights are recomputed in the
backward pass. On a GPU, documents become a padded batch for torch's own kernels.

Shapes: `Q` queries and `T` keys of a pack, `P` keys of a prefix, `H` heads, `W` head width; in one
document `n` queries and `s` keys, padded to `N` and `S` (rounding.py); `B` documents.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from brulee.models.dropping import drawn_seed, drop
from brulee.models.fused_attention import by_key_head, put
from brulee.models.rounding import rounded

_STEP = 16  # padding of rows on a GPU: for other sizes, the kernel copies the bias in every layer


@dataclass(frozen=True)
class Blocks:
    """Which queries attend to which keys: a pair of slices per document.

    Every document also reads the first `before` keys, ahead of its own. `queries` (B, n) and `keys`
    (B, s) are the same rows as a padded batch, for a GPU only.
    """

    pairs: tuple[tuple[slice, slice], ...]
    before: int = 0
    queries: Padded | None = None
    keys: Padded | None = None

    @property
    def longest(self) -> int:
        """The most queries in a document; with padding, if there is any."""
        if self.queries is not None:
            return self.queries.rows.shape[1]
        return max(int(rows.stop - rows.start) for rows, _ in self.pairs)

    def span(self, step: int) -> int:
        """The number of consecutive keys for which a bias is needed, including the prefix.

        Prefix and document are each padded to a multiple of `step`, or as the batch is on a GPU.
        """
        size = rounded(self.before, step) + rounded(self.longest, step)
        return size if self.keys is None else max(size, self.keys.rows.shape[1])


@dataclass(frozen=True)
class Padded:
    """Row numbers `rows` (B, n) in a pack, with padding; `real` (B, n) is False for padding.

    `back` (R) are the indices of the real rows among all B n.
    """

    rows: torch.Tensor
    real: torch.Tensor
    back: torch.Tensor

    def of(self, x_THW: torch.Tensor) -> torch.Tensor:
        """The padded batch (B, H, n, W) of a pack's values."""
        return x_THW[self.rows].transpose(1, 2)


def blocks_of(
    queries: Sequence[int],
    keys: Sequence[int],
    device: torch.device,
    by_kernel: bool,
    before: int = 0,
) -> Blocks:
    """Blocks for documents of these lengths, end to end on both sides, keys after the prefix."""
    pairs = tuple(zip(_slices(queries), _slices(keys, before), strict=True))
    if not by_kernel:
        return Blocks(pairs, before)
    return Blocks(pairs, before, _padded(queries, device), _padded(keys, device, before))


def _slices(sizes: Sequence[int], begin: int = 0) -> list[slice]:
    stops = itertools.accumulate(sizes, initial=begin)
    return [slice(start, start + n) for n, start in zip(sizes, stops, strict=False)]


def _padded(sizes: Sequence[int], device: torch.device, before: int = 0) -> Padded:
    at = torch.arange(rounded(before + max(sizes), _STEP))
    first = torch.tensor([part.start for part in _slices(sizes)])[:, None]
    real = at[None, :] < before + torch.tensor(sizes)[:, None]
    rows = torch.where(real, torch.where(at < before, at, first + at), first)
    back = real.flatten().nonzero()[:, 0]
    return Padded(*(x.to(device, non_blocking=True) for x in (rows, real, back)))


def by_distance(bias_HL: torch.Tensor, causal: bool, dtype: torch.dtype) -> torch.Tensor:
    """The bias of each query and key (H, n, n) in `dtype`, from one per distance (H, 2 n - 1).

    The first distance is that of a key n - 1 before its query. With `causal`, keys after the query
    get minus infinity. A distance's gradient, a sum of up to n terms, is in the dtype of `bias_HL`.
    """
    size = (bias_HL.shape[1] + 1) // 2
    bias_Hnn = bias_HL.unfold(1, size, 1).to(dtype).flip(1)
    if not causal:
        return bias_Hnn
    late = torch.ones(size, size, dtype=torch.bool, device=bias_HL.device).triu_(1)
    return bias_Hnn.masked_fill(late, -torch.inf)


def for_blocks(bias_Hnn: torch.Tensor, blocks: Blocks) -> torch.Tensor:
    """The bias in the form that `attend_biased` takes, made once for all layers.

    On a GPU (B, H, n, s), with minus infinity for padding keys; on a CPU unchanged.
    """
    if blocks.queries is None or blocks.keys is None:
        return bias_Hnn
    n, s = blocks.queries.rows.shape[1], blocks.keys.rows.shape[1]
    return bias_Hnn[None, :, :n, :s].masked_fill(~blocks.keys.real[:, None, None, :], -torch.inf)


def attend_biased(
    q_QHW: torch.Tensor,
    k_THW: torch.Tensor,
    v_THW: torch.Tensor,
    blocks: Blocks,
    bias: torch.Tensor | None,
    dropout: float,
    scale: float = 1.0,
) -> torch.Tensor:
    """Attention of each query to the keys of its document, (Q, H, W).

    The bias comes from `for_blocks`, with the longest document's sizes or larger, per head or one
    for all; its first keys are the prefix. Rows that belong to no document are zeros.
    """
    if blocks.queries is not None and blocks.keys is not None:
        return _by_kernel(q_QHW, k_THW, v_THW, blocks.queries, blocks.keys, bias, dropout, scale)
    apply: Callable[..., torch.Tensor] = _Attend.apply  # torch leaves it untyped
    return apply(q_QHW, k_THW, v_THW, bias, blocks, dropout, scale)


def _by_kernel(
    q_QHW: torch.Tensor,
    k_THW: torch.Tensor,
    v_THW: torch.Tensor,
    queries: Padded,
    keys: Padded,
    bias_BHns: torch.Tensor | None,
    dropout: float,
    scale: float,
) -> torch.Tensor:
    n, s = queries.rows.shape[1], keys.rows.shape[1]
    real_B1ns = keys.real[:, None, None, :].expand(-1, 1, n, s)
    asked_BHnW = queries.of(q_QHW)
    alone = bias_BHns is not None and bias_BHns.requires_grad and not asked_BHnW.requires_grad
    if alone:
        # torch 2.11 stores what the bias's gradient is computed from only if that of queries, keys
        # or values is needed, and otherwise reads out of bounds.
        asked_BHnW.requires_grad_()
    out_BHnW = F.scaled_dot_product_attention(
        asked_BHnW,
        keys.of(k_THW),
        keys.of(v_THW),
        attn_mask=real_B1ns if bias_BHns is None else bias_BHns,
        dropout_p=dropout,
        scale=scale,
    )
    real_RHW = out_BHnW.transpose(1, 2).flatten(0, 1).index_select(0, queries.back)
    more = len(q_QHW) - len(real_RHW)
    return F.pad(real_RHW, (0, 0, 0, 0, 0, more)) if more else real_RHW


class _Attend(torch.autograd.Function):
    """Saves only its inputs, and a seed per document for the dropout of weights."""

    @staticmethod
    def forward(
        ctx: Any,
        q_QHW: torch.Tensor,
        k_THW: torch.Tensor,
        v_THW: torch.Tensor,
        bias_Hnn: torch.Tensor | None,
        blocks: Blocks,
        dropout: float,
        scale: float,
    ) -> torch.Tensor:
        out_QHW = torch.empty_like(q_QHW)
        ctx.seeds = [drawn_seed() if dropout else 0 for _ in blocks.pairs]
        out_QHW[blocks.pairs[-1][0].stop :] = 0
        for (queries, keys), seed in zip(blocks.pairs, ctx.seeds, strict=True):
            _, _, p_HNS = _weighed(q_QHW, k_THW, bias_Hnn, scale, queries, keys, blocks.before)
            if dropout:
                drop(p_HNS, dropout, seed, into=p_HNS)
            put(p_HNS @ _seen(v_THW, keys, blocks.before), out_QHW[queries])
        ctx.save_for_backward(q_QHW, k_THW, v_THW, bias_Hnn)
        ctx.blocks, ctx.dropout, ctx.scale = blocks, dropout, scale
        return out_QHW

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (d_out,) = grads
        q_QHW, k_THW, v_THW, bias_Hnn = ctx.saved_tensors
        scale: float = ctx.scale
        before: int = ctx.blocks.before
        d_q, d_k, d_v = (torch.zeros_like(x) for x in (q_QHW, k_THW, v_THW))
        # Sums over documents need a wider dtype, or later documents would be rounded away.
        wide = torch.promote_types(d_q.dtype, torch.float32)
        common_k, common_v = (torch.zeros_like(x[:before], dtype=wide) for x in (d_k, d_v))
        d_bias = torch.zeros_like(bias_Hnn, dtype=wide) if ctx.needs_input_grad[3] else None
        for (queries, keys), seed in zip(ctx.blocks.pairs, ctx.seeds, strict=True):
            q, k, p_HNS = _weighed(q_QHW, k_THW, bias_Hnn, scale, queries, keys, before)
            d_o, v = _rows(d_out[queries]), _seen(v_THW, keys, before)
            d_p, read_HNS = d_o @ v.transpose(1, 2), p_HNS
            if ctx.dropout:
                read_HNS = drop(p_HNS, ctx.dropout, seed)
                drop(d_p, ctx.dropout, seed, into=d_p)
            _give(read_HNS.transpose(1, 2) @ d_o, d_v[keys], common_v)
            d_s = torch.ops.aten._softmax_backward_data(d_p, p_HNS, -1, p_HNS.dtype)
            put(_product(d_s, k, scale), d_q[queries])
            _give(_product(d_s.transpose(1, 2), q, scale), d_k[keys], common_k)
            if d_bias is not None:
                n, s = queries.stop - queries.start, before + keys.stop - keys.start
                d_bias[:, :n, :s] += d_s[:, :n, :s]
        d_k[:before], d_v[:before] = common_k, common_v
        d_bias = None if d_bias is None else d_bias.to(bias_Hnn.dtype)
        return d_q, d_k, d_v, d_bias, None, None, None


def _weighed(
    q_QHW: torch.Tensor,
    k_THW: torch.Tensor,
    bias_Hnn: torch.Tensor | None,
    scale: float,
    queries: slice,
    keys: slice,
    before: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A document's queries (H, N, W), keys (H, S, W) and weights (H, N, S)."""
    q, k = _rows(q_QHW[queries]), _seen(k_THW, keys, before)
    if bias_Hnn is None:
        s_HNS = _product(q, k.transpose(1, 2), scale)
    else:
        own = bias_Hnn[:, : q.shape[1], : k.shape[1]]
        s_HNS = torch.baddbmm(own, q, k.transpose(1, 2), alpha=scale)
    s_HNS[:, :, before + keys.stop - keys.start :] = -torch.inf
    return q, k, s_HNS.softmax(-1)


def _product(a: torch.Tensor, b: torch.Tensor, times: float) -> torch.Tensor:
    """A b times a scalar, for each head."""
    if times == 1.0:
        return a @ b
    return torch.baddbmm(a.new_empty(1, 1, 1), a, b, beta=0, alpha=times)


def _seen(x_THW: torch.Tensor, keys: slice, before: int) -> torch.Tensor:
    """The keys or values that a document reads, including the prefix, (H, S, W)."""
    own_sHW = x_THW[keys]
    return _rows(torch.cat([x_THW[:before], own_sHW]) if before else own_sHW)


def _give(seen_HSW: torch.Tensor, own_sHW: torch.Tensor, common_PHW: torch.Tensor) -> None:
    """Write the gradient of a document's own keys or values, and add that of the prefix."""
    before = len(common_PHW)
    if before:
        common_PHW += seen_HSW[:, :before].transpose(0, 1)
    put(seen_HSW[:, before:], own_sHW)


def _rows(x_nHW: torch.Tensor) -> torch.Tensor:
    """(n, H, W) -> (H, N, W), n padded to N."""
    return by_key_head(x_nHW, x_nHW.shape[1])
