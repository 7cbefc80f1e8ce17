"""Sizes of matrix products that come again.

The library behind bf16 products on a CPU writes code for every size that it has not met: 4 to 8 ms
and up to a megabyte for one of a training pass, when the product itself takes 1 ms (measured on an
Intel Xeon with AMX; docs/performance.md). No two packs are of one length, so their rows are filled
up to a multiple of a step, and the same few sizes come again.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def step_of(x: torch.Tensor, step: int, dtype: torch.dtype | None = None) -> int:
    """`step` where products of `dtype` on the device of x pay for a new size, else 1."""
    narrow = (dtype or x.dtype) in (torch.bfloat16, torch.float16)
    return step if narrow and x.device.type == "cpu" else 1


def rounded(size: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-size // step) * step


def filled(x: torch.Tensor, step: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """X (n, ...) in `dtype`, with zeros after its rows up to a multiple of `step`."""
    rows = rounded(len(x), step)
    if rows == len(x):
        return x.to(dtype or x.dtype)
    if dtype in (None, x.dtype):
        return F.pad(x, (0, 0) * (x.ndim - 1) + (0, rows - len(x)))
    found = x.new_empty(rows, *x.shape[1:], dtype=dtype)
    found[: len(x)], found[len(x) :] = x, 0
    return found
