"""Keys put end to end, and their gradients back."""

from __future__ import annotations

import pytest
import torch

from brulee.models.key_order import key_order, put_in_order
from brulee.models.spans import Span, asking, spans_of

PACKS = {
    "a common beginning": ((3, 4, 1, 5), 3, (3, 4, 1, 5)),
    "the last layer": ((3, 4, 1, 5), 3, (0, 2, 1, 4)),
    "a document that does not ask": ((3, 4, 1, 5), 3, (0, 2, 0, 4)),
    "nothing in common, one does not ask": ((4, 2, 5), 0, (4, 0, 1)),
}


def _spans(case: str) -> tuple[list[Span], int]:
    segments, shared, asked = PACKS[case]
    return asking(segments, shared, asked), sum(segments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", PACKS)
def test_rows_stand_span_by_span_and_gradients_come_back(case: str, dtype: torch.dtype) -> None:
    spans, rows = _spans(case)
    order = key_order(spans, rows)
    assert order is not None
    x = torch.randn(rows, 2, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    x.requires_grad_()
    found = put_in_order(x, order)
    expected = torch.cat([torch.cat([x[: s.shared], x[s.keys]]) for s in spans])
    assert torch.equal(found, expected)
    d_out = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    (ours,) = torch.autograd.grad(found, x, d_out)
    wide = x.detach().double().requires_grad_()
    again = torch.cat([torch.cat([wide[: s.shared], wide[s.keys]]) for s in spans])
    (exact,) = torch.autograd.grad(again, wide, d_out.double())
    assert ours.dtype == dtype
    torch.testing.assert_close(
        ours.double(), exact, rtol=1e-6 if dtype == torch.float32 else 4e-3, atol=0
    )


def test_the_order_on_another_device_is_the_same() -> None:
    spans, rows = _spans("a common beginning")
    order = key_order(spans, rows)
    assert order is not None
    moved = order.to(torch.device("cpu"))
    pairs = zip(order.tensors(), moved.tensors(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_keys_that_stand_so_already_are_left() -> None:
    assert key_order(spans_of((4, 2, 5), 0), 11) is None
    assert key_order(asking((4, 2, 5), 0, (1, 2, 3)), 11) is None
