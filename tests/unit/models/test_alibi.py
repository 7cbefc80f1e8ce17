"""A bias of scores by distance is the same in every dtype, and wherever a key stands."""

from __future__ import annotations

import pytest
import torch
from transformers.models.falcon.modeling_falcon import build_alibi_tensor

from brulee.models.alibi import with_places
from brulee.models.fused_attention import attend, reading
from brulee.models.spans import Span


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("width", [20, 64])
def test_products_of_wider_heads_have_the_bias(width: int, dtype: torch.dtype) -> None:
    """With two key heads, a prefix of two keys, and positions that half precision would round."""
    slopes, scale = (0.5, 0.7071, 0.0039, 0.25), width**-0.5
    draw = torch.Generator().manual_seed(0)
    q = torch.randn(3, 4, width, generator=draw).to(dtype)
    k = torch.randn(6, 2, width, generator=draw).to(dtype)
    places = torch.tensor([0, 255, 257, 4001])
    wide_q, wide_k = with_places(q, k, slopes, scale, places)
    assert wide_q.dtype == wide_k.dtype == dtype
    assert wide_q.shape[2] % (32 if width == 64 else 4) == 0
    keys = torch.tensor([0, 1, 0, 255, 257, 4001])
    found, plain = (
        scale * torch.einsum("qhw,thw->hqt", a.double(), b.double().repeat_interleave(2, 1))
        for a, b in ((wide_q, wide_k), (q, k))
    )
    bias = torch.tensor(slopes, dtype=torch.float64)[:, None, None] * keys
    torch.testing.assert_close(found - plain, bias.expand_as(found), rtol=2e-5, atol=1e-9)


def test_biases_that_are_rounded_are_those_of_a_head() -> None:
    """The first Falcons' are 500, 502 and 504 for these keys, times a factor."""
    q, k, places = torch.zeros(1, 2, 64), torch.zeros(3, 2, 64), torch.tensor([501, 502, 503])
    wide_q, wide_k = with_places(q, k, (1.0, 0.5), 0.1, places, rounded=0.25)
    found = 0.1 * torch.einsum("qhw,thw->ht", wide_q, wide_k)
    expected = torch.tensor([[500.0, 502.0, 504.0], [250.0, 251.0, 252.0]])
    torch.testing.assert_close(found, 0.25 * expected)
    with pytest.raises(RuntimeError, match="expand"):
        with_places(q, k[:, :1], (1.0, 0.5), 0.1, places, rounded=0.25)


def test_biases_that_are_rounded_are_those_of_many_heads() -> None:
    """Of a head whose slope is no power of two, a product of rounded positions is rounded again."""
    heads, count = 71, 1000
    bias = build_alibi_tensor(torch.ones(1, count, dtype=torch.long), heads, torch.float32)
    slopes = tuple((bias[:, 0, 1] - bias[:, 0, 0]).tolist())
    q, k = torch.zeros(1, heads, 64), torch.zeros(count, heads, 64)
    wide_q, wide_k = with_places(q, k, slopes, 0.125, torch.arange(count), rounded=0.125)
    found = 0.125 * torch.einsum("qhw,thw->ht", wide_q, wide_k)
    torch.testing.assert_close(found, 0.125 * bias[:, 0], rtol=1e-6, atol=0)


@pytest.mark.parametrize("width", [20, 64])
@pytest.mark.parametrize("dropout", [0.0, 1e-9])
def test_far_keys_are_told_apart_in_half_precision(width: int, dropout: float) -> None:
    """Their scores are hundreds, which only a product in fp32 or a kernel keeps to a fraction."""
    slopes, scale, count = (0.7071, 0.0039), width**-0.5, 600
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(count, 2, width, generator=draw).bfloat16() for _ in range(3))
    at, whole = torch.arange(count), slice(0, count)
    read = reading([Span(whole, whole, 0)], count, q.device)
    found = attend(
        *(*with_places(q, k, slopes, scale, at), v, read), scale, dropout=dropout, wide=True
    )
    scores = scale * torch.einsum("qhw,thw->hqt", q.double(), k.double())
    scores += torch.tensor(slopes, dtype=torch.float64)[:, None, None] * at
    unseen = torch.ones(count, count, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(unseen, -torch.inf).softmax(-1)
    expected = torch.einsum("hqt,thw->qhw", weights, v.double())
    error = (found.double() - expected).norm(dim=(0, 2)) / expected.norm(dim=(0, 2))
    assert float(error.max()) < 0.01
