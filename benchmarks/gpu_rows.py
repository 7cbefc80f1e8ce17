"""What prompts and generated rows read in bfloat16, for gpu_exact.py."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

KEYS, WIDTH = 90, 64  # before the new token's key
SHARED = (0, 70)  # keys that belong to a group of rows


def read(device: torch.device) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """What one new token reads as a row and in a prompt, on the device and in fp64 on the CPU.

    Six query heads share two key heads. All scores are large and differ little.
    """
    from brulee.inference.same_bits import attended

    query, keys, values, key, value = _drawn()
    every = [torch.cat(pair, 2) for pair in ((keys, key), (values, value))]
    wide_k, wide_v = (x.double().repeat_interleave(3, 1) for x in every)
    exact = F.scaled_dot_product_attention(query.double(), wide_k, wide_v).transpose(1, 2)
    mask = torch.zeros(1, KEYS + 1, dtype=query.dtype, device=device)
    asked, seen_k, seen_v = (x.to(device) for x in (query, *every))
    prompt = attended(asked, seen_k, seen_v, mask, None)
    rows = {
        f"a row, {shared} positions shared": (
            _row(shared, *(x.to(device) for x in (query, keys, values, key, value))),
            exact,
        )
        for shared in SHARED
    }
    return {"a prompt": (prompt, exact), **rows}


def _drawn() -> list[torch.Tensor]:
    """The query, keys and values, and the key and value of the new token, (1, heads, n, D)."""
    draw = torch.Generator().manual_seed(0)
    sizes = ((6, 1), (2, KEYS), (2, KEYS), (2, 1), (2, 1))
    found = [torch.randn(1, *size, WIDTH, generator=draw) for size in sizes]
    for place in (0, 1, 3):
        found[place][..., :8] += 16
    return [x.bfloat16() for x in found]


def _row(
    shared: int,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
) -> torch.Tensor:
    from brulee.inference.held import HeldTensors
    from brulee.inference.row import Row, Shared

    nobody: Any = None  # who answers does not matter here
    held, group = HeldTensors(2, KEYS + 10), Shared()
    group.lay(HeldTensors, 0, (keys, values), shared, shared)
    held.fill(0, 0, (keys, values), shared, KEYS)
    held.begin([Row(group, shared, KEYS - shared, KEYS, nobody)], [1], query.device)
    return held.attend(0, query, (key, value), None, None)
