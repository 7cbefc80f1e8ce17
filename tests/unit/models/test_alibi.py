"""A bias of scores by distance is the same in every dtype, and wherever a key stands."""

from __future__ import annotations

import pytest
import torch

from brulee.models.alibi import with_places


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
