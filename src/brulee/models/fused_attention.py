"""Causal attention inside the documents of a pack, as matrix products with a custom backward pass.

On a CPU, our C kernels are used where they can be compiled (attention_in_c.py), on CUDA torch's
FlashAttention. The code here computes the rest: other dtypes and head widths, capped scores, and
everything on machines without a C compiler. For a document of a few hundred tokens, two matrix
products and a softmax are faster than a kernel for long documents: at 260 tokens on two Zen 4
cores, forward and backward in bf16 took about a quarter of the time. Query heads that share a key
head are rows of one product. Long documents go to torch's kernel.

A layer may have a window, the number of keys that a query sees up to its own, and a cap: a score s
becomes cap * tanh(s / cap) before the softmax (Gemma 2; Riviere et al. 2024), which no kernel
computes. A head may have a sink, one more score in the softmax that nothing is read for (gpt-oss;
Xiao et al. 2023, "Efficient Streaming Language Models with Attention Sinks"). Attention weights may
have dropout, from a seed for each product (dropping.py).

Shapes: `T` keys of the pack, `Q` queries of the pack, `H` query heads, `K` key heads, `G` = H / K,
`D` head width, `V` that of values (D unless they are narrower); in one span `n` queries and `S`
keys, n padded to `N`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from brulee.models.attention import by_kernel, by_torch, takes_all_documents, varlen
from brulee.models.attention_in_c import attend_in_c, table_of
from brulee.models.dropping import drawn_seed, drop
from brulee.models.kernels import kernel
from brulee.models.key_order import KeyOrder, key_order, put_in_order
from brulee.models.rounding import rounded, step_of, widened
from brulee.models.spans import Span, cut, near

# Beyond this many keys, the n x S weights take too much memory, and kernels for long documents win.
LONGEST = 1024
# Queries in one product: fewer compute fewer masked scores, but in more and smaller products.
ROWS = 256
# Queries and keys of a product are padded to a multiple of this (rounding.py).
STEP = 32


@dataclass(frozen=True)
class Reading:
    """Spans in the forms that the kernels need, made once for all layers of a pass.

    `longest` is the most queries and keys in a span. `table` is for the C kernels. For CUDA,
    `bounds` are the cumulative lengths of queries and of keys, and `order` puts the keys end to end
    (None if they already are). `masks`, made by the first layer that needs one, have as their key
    the queries and keys of a span, the window, and how many query heads share a key head.
    """

    spans: list[Span]
    longest: tuple[int, int]
    table: torch.Tensor
    order: KeyOrder | None = None
    bounds: tuple[torch.Tensor, torch.Tensor] | None = None
    masks: dict[tuple[int, int, int | None, int], torch.Tensor] = field(default_factory=dict)

    def tensors(self) -> list[torch.Tensor]:
        """All CUDA tensors that differ between two readings of equal sizes."""
        return [*(self.order.tensors() if self.order else ()), *(self.bounds or ())]


def reading(spans: list[Span], keys: int, device: torch.device) -> Reading:
    """The `Reading` of these spans on a device, for a pack of so many `keys`."""
    longest = max(span.asked for span in spans), max(span.read for span in spans)
    if not by_kernel(device):
        return Reading(spans, longest, table_of(spans))
    sizes = torch.tensor([[0, *(s.asked for s in spans)], [0, *(s.read for s in spans)]])
    asked, read = sizes.cumsum(1).to(torch.int32).to(device, non_blocking=True)
    order = key_order(spans, keys)
    own = order and order.to(device)
    return Reading(spans, longest, table_of(spans), own, (asked, read))


def attend(
    q_QHD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKD: torch.Tensor,
    read: Reading,
    scale: float,
    window: int | None = None,
    cap: float | None = None,
    dropout: float = 0.0,
    sinks_H: torch.Tensor | None = None,
    wide: bool = False,
) -> torch.Tensor:
    """Causal attention of each query to the keys of its span, (Q, H, V).

    With `wide`, products whose scores are stored are computed in fp32, as kernels compute all of
    them: scores of hundreds would be rounded to whole numbers in bfloat16.
    """
    window = window if window is not None and window < read.longest[1] else None
    if cap is None and not dropout:
        out_QHD = _by_kernel(q_QHD, k_TKD, v_TKD, read, scale, window, sinks_H)
        if out_QHD is not None:
            return out_QHD
    at_once = read.longest[1] if window is None else min(read.longest[1], window)
    if (
        cap is not None
        or sinks_H is not None
        or (q_QHD.device.type == "cpu" and at_once <= LONGEST)
    ):
        apply: Callable[..., torch.Tensor] = _Attend.apply  # torch leaves it untyped
        dtype = torch.promote_types(q_QHD.dtype, torch.float32) if wide else q_QHD.dtype
        given = (x.to(dtype) for x in (q_QHD, k_TKD, v_TKD))
        return apply(*given, read, scale, window, cap, dropout, sinks_H).to(q_QHD.dtype)
    parts = [_kernel(q_QHD, k_TKD, v_TKD, span, scale, window, dropout) for span in read.spans]
    padding = len(q_QHD) - read.spans[-1].queries.stop
    return torch.cat([*parts, q_QHD.new_zeros(padding, *parts[0].shape[1:])])


def _by_kernel(
    q_QHD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKD: torch.Tensor,
    read: Reading,
    scale: float,
    window: int | None,
    sinks_H: torch.Tensor | None,
) -> torch.Tensor | None:
    """Attention by a kernel that takes all spans at once; None if there is none."""
    values = v_TKD.shape[2]
    if read.bounds is None or sinks_H is not None or not takes_all_documents(q_QHD, values):
        return attend_in_c(q_QHD, k_TKD, v_TKD, read.table, scale, window, sinks_H)
    if read.order is not None:
        k_TKD, v_TKD = put_in_order(k_TKD, read.order), put_in_order(v_TKD, read.order)
    return varlen(q_QHD, k_TKD, v_TKD, read.bounds, read.longest, scale, window)


class _Attend(torch.autograd.Function):
    """Recomputes the weights in the backward pass, which is cheaper if they fit in cache.

    Padding rows, in no span, are zeros.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q_QHD: torch.Tensor,
        k_TKD: torch.Tensor,
        v_TKD: torch.Tensor,
        read: Reading,
        scale: float,
        window: int | None,
        cap: float | None,
        dropout: float,
        sinks_H: torch.Tensor | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(q_QHD, k_TKD, v_TKD, sinks_H)
        ctx.read, ctx.scale, ctx.window, ctx.cap = read, scale, window, cap
        out_QHD = q_QHD.new_empty(*q_QHD.shape[:2], v_TKD.shape[2])
        spans = _products(read, window)
        ctx.dropout, ctx.seeds = dropout, [drawn_seed() if dropout else 0 for _ in spans]
        out_QHD[spans[-1].queries.stop :] = 0
        for span, seed in zip(spans, ctx.seeds, strict=True):
            _, _, v, p_KnS, _ = _weighed(
                q_QHD, k_TKD, v_TKD, span, read, scale, window, cap, sinks_H
            )
            if dropout:
                drop(p_KnS, dropout, seed, into=p_KnS)
            put(p_KnS @ v, out_QHD[span.queries])
        return out_QHD

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (d_out,) = grads
        q_QHD, k_TKD, v_TKD, sinks_H = ctx.saved_tensors
        d_sinks_H = None if sinks_H is None else torch.zeros_like(sinks_H)
        heads, spans = k_TKD.shape[1], _products(ctx.read, ctx.window)
        d_q, d_k, d_v = torch.empty_like(q_QHD), torch.zeros_like(k_TKD), torch.zeros_like(v_TKD)
        d_q[spans[-1].queries.stop :] = 0
        shared = max(span.shared for span in spans)
        # Sums over documents need a wider dtype, or later documents would be rounded away.
        wide = torch.promote_types(d_out.dtype, torch.float32)
        common_k, common_v = (torch.zeros_like(x[:shared], dtype=wide) for x in (d_k, d_v))
        for span, seed in zip(spans, ctx.seeds, strict=True):
            q, k, v, p_KnS, slope = _weighed(
                q_QHD, k_TKD, v_TKD, span, ctx.read, ctx.scale, ctx.window, ctx.cap, sinks_H
            )
            d_o = by_key_head(d_out[span.queries], heads)
            d_p, read_KnS = d_o @ v.transpose(1, 2), p_KnS
            if ctx.dropout:
                read_KnS = drop(p_KnS, ctx.dropout, seed)
                drop(d_p, ctx.dropout, seed, into=d_p)
            if d_sinks_H is not None:
                d_sinks_H += _of_sinks(d_p, p_KnS, span, d_sinks_H)
            d_s = _through_softmax(d_p, p_KnS, span, ctx.scale, ctx.window)
            d_s = d_s if slope is None else d_s.mul_(slope)
            put(d_s @ k, d_q[span.queries])
            for own, common, of_seen in (
                (d_k, common_k, d_s.transpose(1, 2) @ q),
                (d_v, common_v, read_KnS.transpose(1, 2) @ d_o),
            ):
                seen_SKD = of_seen.transpose(0, 1)
                own[span.keys] += seen_SKD[span.shared : span.read]
                common[: span.shared] += seen_SKD[: span.shared]
        if shared:
            d_k[:shared] += common_k
            d_v[:shared] += common_v
        return d_q, d_k, d_v, None, None, None, None, None, d_sinks_H


def _products(read: Reading, window: int | None) -> list[Span]:
    """The spans that are computed by one product each."""
    spans = cut(read.spans, ROWS)
    return spans if window is None else near(spans, window)


def _weighed(
    q_QHD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKD: torch.Tensor,
    span: Span,
    read: Reading,
    scale: float,
    window: int | None,
    cap: float | None,
    sinks_H: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """A span's queries (K, G N, D), keys and values (K, S, D), and weights (K, G N, S).

    The last is the derivative of capped scores (K, G N, S); None without a cap.
    """
    q = by_key_head(q_QHD[span.queries], k_TKD.shape[1])
    k, v = _seen(k_TKD, span), _seen(v_TKD, span)
    run = kernel("softmax_forward", q) if cap is None and sinks_H is None else None
    if run is not None:
        s_KnS = q @ k.transpose(1, 2)
        run(s_KnS, *_sizes(s_KnS, span), window or 0, scale)
        return q, k, v, s_KnS, None
    size = (span.asked, span.read, window, q_QHD.shape[1] // k_TKD.shape[1])
    if size not in read.masks:
        read.masks[size] = _mask(*size, q)
    if cap is None:
        s_KnS = torch.baddbmm(read.masks[size], q, k.transpose(1, 2), alpha=scale)
        return q, k, v, _softmax(s_KnS, sinks_H), None
    bent_KnS = (q @ k.transpose(1, 2)).mul_(scale / cap).tanh_()
    weights_KnS = _softmax(torch.add(read.masks[size], bent_KnS, alpha=cap), sinks_H)
    return q, k, v, weights_KnS, 1 - bent_KnS.square_()


def _softmax(s_KnS: torch.Tensor, sinks_H: torch.Tensor | None) -> torch.Tensor:
    """Attention weights, whose sum is less than one beside a sink."""
    if sinks_H is None:
        return s_KnS.softmax(-1)
    heads, rows, _ = s_KnS.shape
    wide_KnS = s_KnS.to(torch.promote_types(s_KnS.dtype, torch.float32))
    sinks_KG1 = sinks_H.to(wide_KnS.dtype).view(heads, -1, 1)
    sinks_Kn1 = sinks_KG1.expand(-1, -1, rows // sinks_KG1.shape[1]).reshape(heads, rows, 1)
    total_Kn1 = torch.logaddexp(wide_KnS.logsumexp(-1, True), sinks_Kn1)
    return (wide_KnS - total_Kn1).exp_().to(s_KnS.dtype)


def _of_sinks(
    d_p_KnS: torch.Tensor, p_KnS: torch.Tensor, span: Span, sinks_H: torch.Tensor
) -> torch.Tensor:
    """The gradient of sinks, (H), from that of the weights: a sink's weight is what they lack."""
    wide_KnS = p_KnS.to(torch.promote_types(p_KnS.dtype, torch.float32))
    d_Kn = -(1 - wide_KnS.sum(-1)) * (wide_KnS * d_p_KnS).sum(-1)
    of_each_Hn = d_Kn.view(len(sinks_H), -1)[:, : span.asked]
    return of_each_Hn.sum(1).to(sinks_H.dtype)


def _through_softmax(
    d_p_KnS: torch.Tensor, p_KnS: torch.Tensor, span: Span, scale: float, window: int | None
) -> torch.Tensor:
    """The gradient of query-key products, (K, G N, S), from that of the weights."""
    run = kernel("softmax_backward", d_p_KnS)
    if run is None:
        d_s: torch.Tensor = torch.ops.aten._softmax_backward_data(d_p_KnS, p_KnS, -1, p_KnS.dtype)
        return d_s.mul_(scale)
    run(d_p_KnS, p_KnS, *_sizes(p_KnS, span), window or 0, scale)
    return d_p_KnS


def _sizes(x_KnS: torch.Tensor, span: Span) -> tuple[int, ...]:
    """Number of blocks; rows and columns of a block; rows and columns that are not padding."""
    rows = rounded(span.asked, step_of(x_KnS, STEP))
    heads, many, columns = x_KnS.shape
    return heads * many // rows, rows, columns, span.asked, span.read


def by_key_head(x_nHD: torch.Tensor, heads: int) -> torch.Tensor:
    """(n, H, D) -> (K, G N, D): the query heads of one key head stacked, n padded to N."""
    asked, every, width = x_nHD.shape
    groups, rows = every // heads, rounded(asked, step_of(x_nHD, STEP))
    found = x_nHD.new_empty(heads, groups, rows, width)
    found[:, :, :asked] = x_nHD.view(asked, heads, groups, width).permute(1, 2, 0, 3)
    found[:, :, asked:] = 0
    return found.view(heads, -1, width)


def put(x_KnD: torch.Tensor, into_nHD: torch.Tensor) -> None:
    """(K, G N, D) -> (n, H, D), without the padding."""
    asked, every, width = into_nHD.shape
    heads = x_KnD.shape[0]
    split = x_KnD.view(heads, every // heads, -1, width)[:, :, :asked]
    into_nHD.view(asked, heads, every // heads, width).copy_(split.permute(2, 0, 1, 3))


def _seen(keys_TKD: torch.Tensor, span: Span) -> torch.Tensor:
    """The keys or values that a span reads, (K, S, D), padded with zeros."""
    _, heads, width = keys_TKD.shape
    columns = rounded(span.read, step_of(keys_TKD, STEP))
    found = keys_TKD.new_empty(heads, columns, width)
    if span.shared:
        found[:, : span.shared] = keys_TKD[: span.shared].transpose(0, 1)
    found[:, span.shared : span.read] = keys_TKD[span.keys].transpose(0, 1)
    found[:, span.read :] = 0
    return found


def _mask(
    asked: int, read: int, window: int | None, groups: int, like: torch.Tensor
) -> torch.Tensor:
    """An additive mask of scores (1, G N, S): minus infinity where a query does not see a key.

    Padding queries see everything, since a fully masked row gives NaN; their output is discarded.
    """
    step = step_of(like, STEP)
    rows, columns = rounded(asked, step), rounded(read, step)
    mask = like.new_zeros(rows, columns)
    late = torch.ones(asked, columns, dtype=torch.bool, device=like.device)
    mask[:asked].masked_fill_(late.triu_(read - asked + 1), -torch.inf)
    if window is not None:
        early = torch.ones(asked, columns, dtype=torch.bool, device=like.device)
        mask[:asked].masked_fill_(early.tril_(read - asked - window), -torch.inf)
    return mask.repeat(groups, 1).unsqueeze(0)


def _kernel(
    q_QHD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKD: torch.Tensor,
    span: Span,
    scale: float,
    window: int | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """One span by torch's own attention, (n, H, V); it is slow for values of another width."""
    q_HnD = q_QHD[span.queries].transpose(0, 1)
    v_TKW = widened(v_TKD, q_QHD.shape[2])
    k_KSD, v_KSD = (_seen(x, span)[:, : span.read] for x in (k_TKD, v_TKW))
    mask = None
    if span.asked < span.read or (window is not None and window < span.read):
        mask = q_HnD.new_ones(span.asked, span.read, dtype=torch.bool)
        mask = mask.tril_(span.read - span.asked)
        if window is not None:
            mask = mask.triu_(span.read - span.asked - window + 1)
    out_1HnD = by_torch(q_HnD[None], k_KSD[None], v_KSD[None], mask, scale, dropout)
    return out_1HnD[0, ..., : v_TKD.shape[2]].transpose(0, 1)
