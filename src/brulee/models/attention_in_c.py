"""Causal attention of a pack's documents through loops in C, in fp32 and in bf16.

In fp32 on any processor (kernels/attention_fp32.c); in bf16 on those with products of it
(AVX512-BF16, AMX; kernels/attention.c). They compute in blocks that stay in the caches: nothing is
held that grows with queries times keys. What they give is in docs/performance.md.

Shapes: `T` keys of the pack, `Q` queries of the pack, `H` query heads, `K` key heads, `D` head
width, `N` spans, `F` rows that several spans read.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from brulee.models import attention_trial
from brulee.models.kernels import kernel
from brulee.models.spans import Span

_SIDE = 32  # of the blocks; a head's width has to be a multiple of it


def table_of(spans: Sequence[Span]) -> torch.Tensor:
    """(N, 5): first query, how many; first own key, how many; how many shared ones before them."""
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
) -> torch.Tensor | None:
    """What each query reads of the keys of its span, (Q, H, D); None where no loop does this.

    With a `window`, of the last so many of them up to its own.
    """
    width = q_QHD.shape[2]
    alike = q_QHD.dtype == k_TKD.dtype == v_TKD.dtype and v_TKD.shape[2] == width
    if not alike or width % _SIDE or kernel("attend_forward", q_QHD) is None:
        return None
    if not _is_right(q_QHD.device, q_QHD.dtype, width):
        return None
    return _attended(q_QHD, k_TKD, v_TKD, table_N5, scale, window)


def _attended(
    q_QHD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKD: torch.Tensor,
    table_N5: torch.Tensor,
    scale: float,
    window: int | None,
) -> torch.Tensor:
    apply: Callable[..., torch.Tensor] = _Attend.apply  # torch leaves it untyped
    return apply(q_QHD, k_TKD, v_TKD, table_N5, scale, window or 0)


@functools.cache
def _is_right(device: torch.device, dtype: torch.dtype, width: int) -> bool:
    """On two documents of which the second is longer than a block, with keys that both read."""
    spans = [Span(slice(0, 3), slice(2, 5), 2), Span(slice(3, 53), slice(5, 55), 2)]
    table = table_of(spans)

    def attend(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None
    ) -> torch.Tensor:
        return _attended(q, k, v, table, attention_trial.scale(width), window)

    reads = [(s.queries, [0, 1, *range(s.keys.start, s.keys.stop)]) for s in spans]
    return attention_trial.is_right(attend, reads, device, dtype, width)


class _Attend(torch.autograd.Function):
    """Keeps the output, which the map after it keeps too, and a number for each query and head.

    Rows that belong to no span, which fill the pack up, read nothing: zeros.
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
    ) -> torch.Tensor:
        q, k, v = (x.contiguous() for x in (q_QHD, k_TKD, v_TKD))
        out_QHD, total_HQ = torch.zeros_like(q), q.new_empty(q.shape[1::-1], dtype=torch.float32)
        run = kernel("attend_forward", q)
        assert run is not None, "asked for before"
        sizes = (len(table_N5), *_sizes(q, k), window)
        run(q, k, v, table_N5, out_QHD, total_HQ, *sizes, scale)
        ctx.save_for_backward(q, k, v, out_QHD, total_HQ, table_N5)
        ctx.scale, ctx.window = scale, window
        return out_QHD

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, out_QHD, total_HQ, table_N5 = ctx.saved_tensors
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
        return d_q, d_k, d_v, None, None, None


def _sizes(q_QHD: torch.Tensor, k_TKD: torch.Tensor) -> tuple[int, ...]:
    """Queries, query heads, key heads, width."""
    queries, heads, width = q_QHD.shape
    return queries, heads, k_TKD.shape[1], width
