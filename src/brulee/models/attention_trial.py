"""Test a kernel for packed attention on the device where it will run, gradients included.

As for the other kernels (kernels/trying.py), and for the same reason. The expected result is
computed with a mask, in float64 on the CPU.

Shapes: `Q` queries, `S` keys, `H` query heads, `K` key heads, `D` head width.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import torch

from brulee.models.allocator import is_exhaustion

# For each document, its queries, which are the last of its keys, and all its keys.
Reads = Sequence[tuple[slice, Sequence[int]]]
Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int | None], torch.Tensor]
_HEADS, _KEY_HEADS = 4, 2
_WINDOW = 3
# Tolerances relative to the result's norm; kernels in half precision have errors of 2e-3 to 5e-3,
# those in fp32 of 1e-6.
_MOST = {torch.float32: 1e-4}
_MOST_OF_HALF = 2e-2


def scale(width: int) -> float:
    """The factor of the scores in a test."""
    return 1.0 / math.sqrt(width)


def is_right(
    attend: Attend, reads: Reads, device: torch.device, dtype: torch.dtype, width: int
) -> bool:
    """Whether `attend(query, key, value, window)` is right, with scores times `scale(width)`.

    If not, warns and says what is wrong.
    """
    wrong = _fault(attend, reads, device, dtype, width)
    if wrong is not None:
        warnings.warn(
            "documents are attended to one at a time, somewhat slower: the kernel for many does not"
            f" compute what it should on {device} in {dtype}: {wrong}",
            stacklevel=3,
        )
    return wrong is None


@torch.enable_grad()
def _fault(
    attend: Attend, reads: Reads, device: torch.device, dtype: torch.dtype, width: int
) -> str | None:
    queries = reads[-1][0].stop
    keys = 1 + max(key for _, seen in reads for key in seen)
    shapes = [(queries, _HEADS), (keys, _KEY_HEADS), (keys, _KEY_HEADS), (queries, _HEADS)]
    drawn = [_drawn(seed, *shape, width).to(dtype) for seed, shape in enumerate(shapes)]
    for window in (None, _WINDOW):
        q, k, v = (_leaf(x.double()) for x in drawn[:3])
        expected = _exact(q, k, v, drawn[3].double(), reads, window)
        try:
            q, k, v = (_leaf(x.to(device)) for x in drawn[:3])
            out = attend(q, k, v, window)
            found = [out, *torch.autograd.grad(out, (q, k, v), drawn[3].to(device))]
        except (RuntimeError, TypeError) as error:
            if is_exhaustion(error):
                raise
            return next(iter(str(error).strip().splitlines()), type(error).__name__)
        for what, one, right in zip(("output", "dQ", "dK", "dV"), found, expected, strict=True):
            off = float((one.detach().cpu().double() - right).norm() / right.norm())
            if not off <= _MOST.get(dtype, _MOST_OF_HALF):  # true for NaN
                return f"{what} is off by {off:.1e} of its length"
    return None


def _exact(
    q_QHD: torch.Tensor,
    k_SKD: torch.Tensor,
    v_SKD: torch.Tensor,
    d_out_QHD: torch.Tensor,
    reads: Reads,
    window: int | None,
) -> list[torch.Tensor]:
    """The output and the gradients of query, key and value."""
    groups = q_QHD.shape[1] // k_SKD.shape[1]
    outs = []
    for queries, seen in reads:
        q = q_QHD[queries]
        k, v = (x[list(seen)].repeat_interleave(groups, 1) for x in (k_SKD, v_SKD))
        scores = torch.einsum("qhd,shd->hqs", q, k) * scale(q.shape[-1])
        at = torch.arange(len(seen), device="cpu")
        behind = at[len(seen) - len(q) :, None] - at
        hidden = (behind < 0) | (behind >= (window or len(seen)))
        weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        outs.append(torch.einsum("hqs,shd->qhd", weights, v))
    out_QHD = torch.cat(outs)
    return [out_QHD.detach(), *torch.autograd.grad(out_QHD, (q_QHD, k_SKD, v_SKD), d_out_QHD)]


def _leaf(x: torch.Tensor) -> torch.Tensor:
    return x.detach().clone().requires_grad_()


def _drawn(seed: int, *shape: int) -> torch.Tensor:
    draw = torch.Generator(device="cpu").manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float32, device="cpu")
