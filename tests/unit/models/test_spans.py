"""Who reads whom in a pack, cut in any way, is the same reading."""

from __future__ import annotations

import pytest
import torch

from brulee.models.fused_attention import _kernel, attend, reading
from brulee.models.fused_long import chunked
from brulee.models.spans import Span, asking, cut, near, spans_of

CPU = torch.device("cpu")


def _pairs(spans: list[Span]) -> set[tuple[int, int]]:
    """Every (query, key) that is computed and not masked."""
    found = set()
    for span in spans:
        keys = [*range(span.shared), *range(span.keys.start, span.keys.stop)]
        for at, query in enumerate(range(span.queries.start, span.queries.stop)):
            found |= {(query, key) for key in keys[: span.read - span.asked + at + 1]}
    return found


def test_documents_read_the_shared_beginning_and_themselves() -> None:
    spans = spans_of((3, 2, 4), shared=3)
    assert [(span.asked, span.read) for span in spans] == [(3, 3), (2, 5), (4, 7)]
    assert spans[2].keys == slice(5, 9)


def test_rows_that_ask_nothing_are_left_out() -> None:
    spans = asking((3, 2, 4), 3, (0, 1, 4))
    assert [(span.queries, span.read) for span in spans] == [(slice(0, 1), 5), (slice(1, 5), 7)]


@pytest.mark.parametrize("rows", [1, 2, 3, 50])
def test_pieces_read_what_the_whole_read(rows: int) -> None:
    spans = asking((3, 2, 9), 3, (0, 2, 7))
    pieces = cut(spans, rows)
    assert _pairs(pieces) == _pairs(spans)
    assert sum(piece.asked for piece in pieces) == 9


def test_products_give_what_each_span_gives_alone() -> None:
    spans = spans_of((2, 3, 4), shared=2)
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(9, heads, 4, generator=draw) for heads in (4, 2, 2))
    whole = attend(q, k, v, reading(spans, len(k), CPU), 0.5)
    alone = torch.cat([_kernel(q, k, v, span, 0.5) for span in spans])
    torch.testing.assert_close(whole, alone)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_cuda_kernel_gives_what_each_span_gives_alone() -> None:
    device = torch.device("cuda")
    spans = asking((2, 3, 40), 2, (0, 1, 13))
    draw = torch.Generator().manual_seed(0)
    q = torch.randn(14, 4, 64, generator=draw).to(device, torch.bfloat16)
    k, v = (torch.randn(45, 2, 64, generator=draw).to(device, torch.bfloat16) for _ in range(2))
    whole = attend(q, k, v, reading(spans, len(k), device), 0.125)
    alone = torch.cat([_kernel(q, k, v, span, 0.125) for span in spans])
    torch.testing.assert_close(whole, alone, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("window", [1, 3, 5, 8, 40])
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_keys_that_a_window_hides_from_every_query_are_left_out(window: int, rows: int) -> None:
    spans = cut(asking((4, 6, 9, 1), 4, (0, 6, 3, 1)), rows)
    for whole, found in zip(spans, near(spans, window), strict=True):
        assert found.queries == whole.queries
        assert found.keys.stop == whole.keys.stop
        assert _seen(found, window) == _seen(whole, window)
        unseen = whole.read - whole.asked - window + 1
        assert found.read <= whole.read - (unseen if unseen >= whole.shared else 0)


def _seen(span: Span, window: int) -> list[list[int]]:
    """The rows that each query of a span sees."""
    keys = [*range(span.shared), *range(span.keys.start, span.keys.stop)]
    last = [span.read - span.asked + query for query in range(span.asked)]
    return [keys[max(0, at + 1 - window) : at + 1] for at in last]


def test_chunks_of_documents_that_share_a_beginning() -> None:
    """Keys are end to end: the beginning of three, then it and two, then it and four."""
    spans = asking([3, 2, 4], 3, [0, 1, 4])
    assert chunked(spans, 4) == [
        Span(slice(0, 1), slice(4, 5), 0),
        Span(slice(1, 2), slice(5, 9), 0),
        Span(slice(2, 5), slice(9, 12), 0),
    ]
