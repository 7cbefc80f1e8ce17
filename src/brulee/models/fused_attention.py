"""Causal attention of a pack's documents as plain matrix products, with a backward of its own.

On a CPU a document of a few hundred tokens is attended to faster by two matrix products and a
softmax than by a kernel made for long ones: measured on two Zen 4 cores at 260 tokens, forward and
backward, about a quarter of the time in bf16 (docs/performance.md). Query heads that share a key
head are the rows of one product. Long documents, and CUDA, go to the kernels made for them.

Shapes: `T` keys of the pack, `Q` queries of the pack, `H` query heads, `K` key heads, `G` = H / K,
`D` head width; of one span: `n` queries, `S` keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from brulee.models.attention import varlen
from brulee.models.spans import Span, cut

# Beyond it the n x S weights are too much to keep, and the kernels for long documents win.
LONGEST = 1024
# Queries in one product: fewer compute less that is masked, in more and smaller products.
ROWS = 128


@dataclass(frozen=True)
class Reading:
    """Spans, and what a CUDA kernel needs to know of them: made once for all layers of a pass.

    `order` are the keys of all spans end to end, among the pack's T; `bounds` where each span's
    queries and keys begin.
    """

    spans: list[Span]
    order: torch.Tensor | None = None
    bounds: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def longest(self) -> tuple[int, int]:
        """The most queries and the most keys of a span."""
        return max(span.asked for span in self.spans), max(span.read for span in self.spans)


def reading(spans: list[Span], device: torch.device) -> Reading:
    """How these spans are read on a device."""
    if device.type != "cuda":
        return Reading(spans)
    rows = [row for s in spans for row in (*range(s.shared), *range(s.keys.start, s.keys.stop))]
    sizes = torch.tensor([[0, *(s.asked for s in spans)], [0, *(s.read for s in spans)]])
    asked, read = sizes.cumsum(1).to(torch.int32).to(device, non_blocking=True)
    return Reading(spans, torch.tensor(rows).to(device, non_blocking=True), (asked, read))


def attend(
    q_QHD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKD: torch.Tensor,
    read: Reading,
    scale: float,
) -> torch.Tensor:
    """What each query reads of the keys of its span, (Q, H, D)."""
    if q_QHD.device.type == "cpu" and read.longest[1] <= LONGEST:
        apply: Callable[..., torch.Tensor] = _Attend.apply  # torch leaves it untyped
        return apply(q_QHD, k_TKD, v_TKD, cut(read.spans, ROWS), scale)
    if (
        read.order is not None
        and read.bounds is not None
        and q_QHD.dtype in (torch.float16, torch.bfloat16)
    ):
        k_TKD, v_TKD = (x.index_select(0, read.order) for x in (k_TKD, v_TKD))
        return varlen(q_QHD, k_TKD, v_TKD, read.bounds, read.longest, scale)
    return torch.cat([_kernel(q_QHD, k_TKD, v_TKD, span, scale) for span in read.spans])


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q_QHD: torch.Tensor,
        k_TKD: torch.Tensor,
        v_TKD: torch.Tensor,
        spans: Sequence[Span],
        scale: float,
    ) -> torch.Tensor:
        out_QHD = torch.empty_like(q_QHD)
        heads, kept = k_TKD.shape[1], []
        masks: dict[tuple[int, int], torch.Tensor] = {}
        for span in spans:
            q = _by_key_head(q_QHD[span.queries], heads) * scale
            k, v = _seen(k_TKD, span), _seen(v_TKD, span)
            size = (span.asked, span.read)
            if size not in masks:
                masks[size] = _mask(*size, q.shape[1] // span.asked, q)
            p_KnS = torch.baddbmm(masks[size], q, k.transpose(1, 2)).softmax(-1)
            out_QHD[span.queries] = _by_query(p_KnS @ v, span.asked)
            kept += [q, k, v, p_KnS]
        ctx.save_for_backward(*kept)
        ctx.spans, ctx.scale, ctx.keys = spans, scale, k_TKD.shape
        return out_QHD

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (d_out,) = grads
        d_q, heads = torch.empty_like(d_out), ctx.keys[1]
        d_k, d_v = d_out.new_zeros(ctx.keys), d_out.new_zeros(ctx.keys)
        shared = max(span.shared for span in ctx.spans)
        # Summed over documents, so in a format that does not lose the later ones.
        wide = torch.promote_types(d_out.dtype, torch.float32)
        common_k = torch.zeros_like(d_k[:shared], dtype=wide)
        common_v = torch.zeros_like(common_k)
        for at, span in enumerate(ctx.spans):
            q, k, v, p_KnS = ctx.saved_tensors[4 * at : 4 * at + 4]
            d_o = _by_key_head(d_out[span.queries], heads)
            d_p = d_o @ v.transpose(1, 2)
            d_s = torch.ops.aten._softmax_backward_data(d_p, p_KnS, -1, p_KnS.dtype)
            d_q[span.queries] = _by_query(d_s @ k, span.asked)
            for own, common, of_seen in (
                (d_k, common_k, d_s.transpose(1, 2) @ q),
                (d_v, common_v, p_KnS.transpose(1, 2) @ d_o),
            ):
                seen_SKD = of_seen.transpose(0, 1)
                own[span.keys] += seen_SKD[span.shared :]
                common[: span.shared] += seen_SKD[: span.shared]
        if shared:
            d_k[:shared] += common_k
            d_v[:shared] += common_v
        return d_q.mul_(ctx.scale), d_k, d_v, None, None


def _by_key_head(x_nHD: torch.Tensor, heads: int) -> torch.Tensor:
    """(n, H, D) -> (K, G n, D): the queries of one key head under each other."""
    asked, _, width = x_nHD.shape
    return x_nHD.reshape(asked, heads, -1, width).permute(1, 2, 0, 3).reshape(heads, -1, width)


def _by_query(x_KnD: torch.Tensor, asked: int) -> torch.Tensor:
    """(K, G n, D) -> (n, H, D)."""
    heads, _, width = x_KnD.shape
    return x_KnD.view(heads, -1, asked, width).permute(2, 0, 1, 3).flatten(1, 2)


def _seen(keys_TKD: torch.Tensor, span: Span) -> torch.Tensor:
    """The keys or values that a span reads, (K, S, D)."""
    own = keys_TKD[span.keys]
    seen = torch.cat([keys_TKD[: span.shared], own]) if span.shared else own
    return seen.transpose(0, 1).contiguous()


def _mask(asked: int, read: int, groups: int, like: torch.Tensor) -> torch.Tensor:
    """What is added to scores (K, G n, S): minus infinity where a key comes after its query."""
    late = torch.ones(asked, read, dtype=torch.bool, device=like.device).triu(read - asked + 1)
    mask = like.new_zeros(asked, read).masked_fill_(late, -torch.inf)
    return mask.repeat(groups, 1).unsqueeze(0)


def _kernel(
    q_QHD: torch.Tensor, k_TKD: torch.Tensor, v_TKD: torch.Tensor, span: Span, scale: float
) -> torch.Tensor:
    """One span through torch's own attention, (n, H, D)."""
    q_HnD = q_QHD[span.queries].transpose(0, 1)
    k_KSD, v_KSD = _seen(k_TKD, span), _seen(v_TKD, span)
    mask = None
    if span.asked < span.read:
        mask = q_HnD.new_ones(span.asked, span.read, dtype=torch.bool)
        mask = mask.tril_(span.read - span.asked)
    out_1HnD = F.scaled_dot_product_attention(
        q_HnD[None],
        k_KSD[None],
        v_KSD[None],
        attn_mask=mask,
        is_causal=mask is None,
        scale=scale,
        enable_gqa=q_QHD.shape[1] != k_TKD.shape[1],
    )
    return out_1HnD[0].transpose(0, 1)
