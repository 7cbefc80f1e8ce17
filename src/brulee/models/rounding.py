"""Pad matrix products to a few recurring sizes.

The library behind bf16 products on a CPU generates code for every new size: 4 to 8 ms and up to a
megabyte for a product of a training pass that itself takes 1 ms (measured on an Intel Xeon with
AMX; docs/performance.md). Packs have different lengths, so their rows are padded to a multiple of a
step, and only a few sizes occur.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def step_of(x: torch.Tensor, step: int, dtype: torch.dtype | None = None) -> int:
    """`step` where new sizes of products cost time (half precision on a CPU), else 1."""
    narrow = (dtype or x.dtype) in (torch.bfloat16, torch.float16)
    return step if narrow and x.device.type == "cpu" else 1


def rounded(size: int, step: int) -> int:
    """`size` rounded up to a multiple of `step`."""
    return -(-size // step) * step


def filled(x: torch.Tensor, step: int) -> torch.Tensor:
    """X (n, ...) padded with rows of zeros to a multiple of `step`."""
    extra = -len(x) % step
    return F.pad(x, (0, 0) * (x.ndim - 1) + (0, extra)) if extra else x


def widened(x: torch.Tensor, width: int) -> torch.Tensor:
    """X (..., D) with zeros behind its values, if there are fewer than `width`."""
    more = width - x.shape[-1]
    return F.pad(x, (0, more)) if more > 0 else x
