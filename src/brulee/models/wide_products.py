"""Products of matrices in half precision whose results are in fp32.

A score of attention of some hundred, rounded to bfloat16, is off by one, and its weight by e.
"""

from __future__ import annotations

import functools

import torch


def wide_bmm(a_NRI: torch.Tensor, b_NIC: torch.Tensor) -> torch.Tensor:
    """A b (N, R, C), in fp32 or wider."""
    wide = torch.promote_types(a_NRI.dtype, torch.float32)
    if wide != a_NRI.dtype and a_NRI.is_cuda and _widens(a_NRI.device, a_NRI.dtype):
        return torch.bmm(a_NRI, b_NIC, out_dtype=wide)
    return torch.bmm(a_NRI.to(wide), b_NIC.to(wide))


@functools.cache
def _widens(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch.bmm takes `out_dtype` on this device, by a test."""
    one = torch.eye(16, dtype=dtype, device=device)[None]
    try:
        found = torch.bmm(one, 3 * one, out_dtype=torch.float32)
    except (RuntimeError, TypeError):
        return False
    return torch.equal(found, 3.0 * one.float())
