"""Attention of a few rows over many keys, in fp32 to the same bits whatever else is computed.

A score should depend on its request alone: not on the batch, nor on how work is cut into passes.
Fused kernels cut their work by the number of queries and keys, and sum in another order for each.
Plain matrix products do not, as long as there are enough rows, and keys come in steps of 192:
tried on MKL with head widths of 8 to 128 (at 256 and 320 keys it has kernels of its own).

Shapes: `T` queries, `S` keys, `H` query heads, `K` key heads, `G` = H / K, `D` head width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

# With the kernels of MKL, what a row of an fp32 product comes to depends on how many rows a core
# is given where they are fewer than eight, and from there on does not.
ROWS = 16
KEYS = 192


def up(count: int, step: int = ROWS) -> int:
    """The next multiple of step."""
    return -(-count // step) * step


def attended(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask_TS: torch.Tensor,
    scaling: float | None,
) -> torch.Tensor:
    """Attention with a mask that is added: query (1, H, T, D), key (1, K, S, D); (1, T, H, D)."""
    if query.dtype == torch.float32 and query.device.type == "cpu":
        return _by_products(query[0], key[0], value[0], mask_TS, scaling)[None]
    out = F.scaled_dot_product_attention(
        query, key, value, mask_TS, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    )
    return out.transpose(1, 2)


def _by_products(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask_TS: torch.Tensor,
    scaling: float | None,
) -> torch.Tensor:
    H, T, D = query.shape
    K, S, _ = key.shape
    grouped = query.view(K, H // K, T, D).reshape(K, -1, D)
    grouped = grouped * (D**-0.5 if scaling is None else scaling)
    scores = torch.bmm(grouped, key.transpose(1, 2)).view(H, T, S)
    weights = scores.add_(mask_TS).softmax(dim=-1).view(K, -1, S)
    return torch.bmm(weights, value).view(H, T, D).transpose(0, 1)
