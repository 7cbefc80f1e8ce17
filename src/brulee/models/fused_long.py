"""What attention does in long documents only: chunks, and a temperature (Llama 4).

    a document, its prefix or common beginning first    |--- chunk ---|--- chunk ---|- chunk -|

A token sees the keys of its own chunk up to itself. Keys are put end to end (key_order.py), where
each chunk becomes a span of its own, so that every kernel can compute it. In other layers, queries
are multiplied by a factor that grows with their place in the document.

Shapes: `T` keys, `Q` queries, `H` query heads, `K` key heads, `W` head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from brulee.models.fused_attention import Reading, reading
from brulee.models.key_order import KeyOrder, key_order, put_in_order
from brulee.models.spans import Span


@dataclass(frozen=True)
class Long:
    """What is made for the first layer of a pass that needs it, for rows of one `Reading`.

    By chunk, and by the constants of the temperature.
    """

    chunks: dict[int, tuple[KeyOrder | None, Reading]] = field(default_factory=dict)
    factors: dict[tuple[float, float], torch.Tensor] = field(default_factory=dict)


def in_chunks(
    k_TKW: torch.Tensor, v_TKW: torch.Tensor, read: Reading, chunk: int | None, long: Long
) -> tuple[torch.Tensor, torch.Tensor, Reading]:
    """Keys, values and spans in which a query sees its chunk only."""
    if chunk is None or chunk >= read.longest[1]:
        return k_TKW, v_TKW, read
    if chunk not in long.chunks:
        order = key_order(read.spans, len(k_TKW))
        keys = len(k_TKW) if order is None else len(order.rows)
        order = order and order.to(k_TKW.device)
        long.chunks[chunk] = order, reading(chunked(read.spans, chunk), keys, k_TKW.device)
    order, pieces = long.chunks[chunk]
    if order is not None:
        k_TKW, v_TKW = put_in_order(k_TKW, order), put_in_order(v_TKW, order)
    return k_TKW, v_TKW, pieces


def chunked(spans: Sequence[Span], chunk: int) -> list[Span]:
    """A span for each chunk that has queries, over keys that were put end to end."""
    found, base = [], 0
    for span in spans:
        before = span.read - span.asked  # keys ahead of the first query
        first = span.queries.start - before  # where a query of the first key would be
        for start in range(0, span.read, chunk):
            end = min(start + chunk, span.read)
            asks = max(start, before)
            if asks < end:
                queries = slice(first + asks, first + end)
                found.append(Span(queries, slice(base + start, base + end), 0))
        base += span.read
    return found


def tempered(
    q_QHW: torch.Tensor, read: Reading, how: tuple[float, float] | None, long: Long
) -> torch.Tensor:
    """Queries times 1 + s log(1 + floor((place + 1) / f)), with (f, s) as `how`.

    Nakanishi 2025, "Scalable-Softmax Is Superior for Attention". Every factor is 1 in documents
    of fewer than f tokens.
    """
    if how is None or read.longest[1] < how[0]:
        return q_QHW
    if how not in long.factors:
        over, times = how
        places = torch.zeros(len(q_QHW))
        for span in read.spans:
            places[span.queries] = torch.arange(span.read - span.asked, span.read).float()
        long.factors[how] = (1 + times * ((places + 1) / over).floor().log1p()).to(q_QHW.device)
    return (q_QHW * long.factors[how][:, None, None]).to(q_QHW.dtype)
