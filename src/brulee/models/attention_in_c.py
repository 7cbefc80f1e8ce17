"""Causal attention inside the documents of a pack, by C kernels in fp32 and bf16.

The fp32 kernel (kernels/attention_fp32.c) runs on any processor, the bf16 one (kernels/attention.c)
on those with bf16 products (AVX512-BF16, AMX). Both compute in blocks that stay in cache, and
memory does not grow with queries times keys. Measurements are in docs/performance.md.

Shapes: `T` keys of the pack, `Q` queries of the pack, `H` query heads, `K` key heads, `D` head
width, `N` spans, `F` rows that spans share.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from brulee.models import attention_trial
from brulee.models.kernels import kernel
from brulee.models.rounding import widened
from brulee.models.spans import Span

_SIDE = 32  # block size; the head width has to be a multiple of it


def table_of(spans: Sequence[Span]) -> torch.Tensor:
    """(N, 5): first query, number of queries; first own key, number of these; number shared."""
    return torch.tensor(
        [[s.queries.start, s.asked, s.keys.start, s.read - s.shared, s.shared] for s in spans]
    )


def attend_in_c(
    q_QHD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKD: torch.Tensor,
    table_N5: torch.Tensor,
    scale: float,
    window: int | None = None,
    sinks_H: torch.Tensor | None = None,
) -> torch.Tensor | None:
    """Causal attention within spans, (Q, H, D); None if there is no kernel for these inputs.

    With a `window`, a query sees that many keys, up to its own. `sinks_H` (H) are scores that take
    a share of each head's softmax. Values narrower than keys are padded with zeros for the kernel,
    and the result is cut.
    """
    width, narrow = q_QHD.shape[2], v_TKD.shape[2]
    alike = q_QHD.dtype == k_TKD.dtype == v_TKD.dtype
    if not alike or narrow > width or width % _SIDE or kernel("attend_forward", q_QHD) is None:
        return None
    if not _is_right(q_QHD.device, q_QHD.dtype, width):
        return None
    v_TKD = widened(v_TKD, width)
    return _attended(q_QHD, k_TKD, v_TKD, table_N5, scale, window, sinks_H)[..., :narrow]


def _attended(
    q_QHD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKD: torch.Tensor,
    table_N5: torch.Tensor,
    scale: float,
    window: int | None,
    sinks_H: torch.Tensor | None = None,
) -> torch.Tensor:
    apply: Callable[..., torch.Tensor] = _Attend.apply  # torch leaves it untyped
    return apply(q_QHD, k_TKD, v_TKD, table_N5, scale, window or 0, sinks_H)


@functools.cache
def _is_right(device: torch.device, dtype: torch.dtype, width: int) -> bool:
    """Test the kernel on two documents with shared keys, the second longer than a block."""
    spans = [Span(slice(0, 3), slice(2, 5), 2), Span(slice(3, 53), slice(5, 55), 2)]
    table = table_of(spans)

    def attend(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None
    ) -> torch.Tensor:
        return _attended(q, k, v, table, attention_trial.scale(width), window)

    reads = [(s.queries, [0, 1, *range(s.keys.start, s.keys.stop)]) for s in spans]
    return attention_trial.is_right(attend, reads, device, dtype, width)


class _Attend(torch.autograd.Function):
    """Saves the inputs, the output, and the log of the softmax sum for each query and head.

    The output is saved by the next linear layer anyway. Padding rows, in no span, are zeros.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q_QHD: torch.Tensor,
        k_TKD: torch.Tensor,
        v_TKD: torch.Tensor,
        table_N5: torch.Tensor,
        scale: float,
        window: int,
        sinks_H: torch.Tensor | None,
    ) -> torch.Tensor:
        q, k, v = (x.contiguous() for x in (q_QHD, k_TKD, v_TKD))
        out_QHD, total_HQ = torch.zeros_like(q), q.new_empty(q.shape[1::-1], dtype=torch.float32)
        run = kernel("attend_forward", q)
        assert run is not None, "asked for before"
        sizes = (len(table_N5), *_sizes(q, k), window)
        run(q, k, v, table_N5, out_QHD, total_HQ, *sizes, scale)
        if sinks_H is not None:
            # As if the softmax had one more score: the backward pass needs no more than its sum.
            asked = _asked(table_N5)
            before_HQ = total_HQ[:, :asked]
            whole_HQ = torch.logaddexp(before_HQ, sinks_H.float()[:, None])
            out_QHD[:asked] *= (before_HQ - whole_HQ).exp_().T[..., None]
            total_HQ[:, :asked] = whole_HQ
        ctx.save_for_backward(q, k, v, out_QHD, total_HQ, table_N5, sinks_H)
        ctx.scale, ctx.window = scale, window
        return out_QHD

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, out_QHD, total_HQ, table_N5, sinks_H = ctx.saved_tensors
        d_q, d_k, d_v = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        front = int(table_N5[:, 4].max())
        common_2NFKD = q.new_zeros(2, len(table_N5), front, *k.shape[1:], dtype=torch.float32)
        run = kernel("attend_backward", q)
        assert run is not None, "asked for before"
        run(
            *(q, k, v, out_QHD, grads[0].contiguous(), total_HQ, table_N5),
            *(d_q, d_k, d_v, *common_2NFKD),
            *(len(table_N5), *_sizes(q, k), ctx.window, front, ctx.scale),
        )
        if front:
            d_k[:front], d_v[:front] = common_2NFKD.sum(1)
        d_sinks_H = None
        if sinks_H is not None:
            asked = _asked(table_N5)
            read_HQ = (grads[0][:asked].float() * out_QHD[:asked].float()).sum(-1).T
            of_sink_HQ = (sinks_H.float()[:, None] - total_HQ[:, :asked]).exp_()
            d_sinks_H = -(of_sink_HQ * read_HQ).sum(1).to(sinks_H.dtype)
        return d_q, d_k, d_v, None, None, None, d_sinks_H


def _asked(table_N5: torch.Tensor) -> int:
    """The number of queries that are in a span; those behind are padding."""
    return int(table_N5[:, :2].sum(1).max())


def _sizes(q_QHD: torch.Tensor, k_TKD: torch.Tensor) -> tuple[int, ...]:
    """Queries, query heads, key heads, width."""
    queries, heads, width = q_QHD.shape
    return queries, heads, k_TKD.shape[1], width
