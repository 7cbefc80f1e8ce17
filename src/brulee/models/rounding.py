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


def filled(x: torch.Tensor, step: int) -> torch.Tensor:
    """X (n, ...) with zeros after its rows, up to a multiple of `step`."""
    extra = -len(x) % step
    return F.pad(x, (0, 0) * (x.ndim - 1) + (0, extra)) if extra else x
