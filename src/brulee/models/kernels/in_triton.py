"""The kernels of kernels.c that training needs, for GPUs, in Triton.

Tillet et al. 2019, "Triton: An Intermediate Language and Compiler for Tiled Neural Network
Computations". Each program handles a row, or a block of a flat tensor; sums are in fp32. The tests
run the kernels in Triton's interpreter and compile them for the target GPUs, without a GPU.

Arguments are as in kernels.c, except that a gain may be in any dtype. `BLOCK` is the number of
values that a program holds at once, rounded up to a power of two.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
import triton.language as tl

_FLAT = 1024  # values of a flat tensor per program
_COLUMNS = 4096  # most logits of a row held at once


@triton.jit
def _norm_forward_kernel(
    x: tl.tensor,
    gain: tl.tensor,
    y: tl.tensor,
    r: tl.tensor,
    width: tl.tensor,
    eps: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < width
    values = tl.load(x + row * width + at, mask=inside, other=0.0).to(tl.float32)
    times = 1.0 / tl.sqrt(tl.sum(values * values, 0) / width + eps)
    out = values * times * tl.load(gain + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(r + row, times)
    tl.store(y + row * width + at, out.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _norm_backward_kernel(
    x: tl.tensor,
    gain: tl.tensor,
    r: tl.tensor,
    dy: tl.tensor,
    dx: tl.tensor,
    width: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < width
    values = tl.load(x + row * width + at, mask=inside, other=0.0).to(tl.float32)
    grad = tl.load(dy + row * width + at, mask=inside, other=0.0).to(tl.float32)
    grad = grad * tl.load(gain + at, mask=inside, other=0.0).to(tl.float32)
    times = tl.load(r + row)
    along = tl.sum(grad * values, 0) * times * times * times / width
    out = grad * times - values * along
    tl.store(dx + row * width + at, out.to(dx.dtype.element_ty), mask=inside)


@triton.jit
def _swiglu_forward_kernel(
    gate: tl.tensor, up: tl.tensor, y: tl.tensor, size: tl.tensor, BLOCK: tl.constexpr
) -> None:
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    g = tl.load(gate + at, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(up + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(y + at, (g * tl.sigmoid(g) * u).to(y.dtype.element_ty), mask=inside)


@triton.jit
def _swiglu_backward_kernel(
    gate: tl.tensor,
    up: tl.tensor,
    dy: tl.tensor,
    dgate: tl.tensor,
    dup: tl.tensor,
    size: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    g = tl.load(gate + at, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(up + at, mask=inside, other=0.0).to(tl.float32)
    grad = tl.load(dy + at, mask=inside, other=0.0).to(tl.float32)
    s = tl.sigmoid(g)
    of_gate = grad * u * s * (1.0 + g * (1.0 - s))
    tl.store(dup + at, (grad * g * s).to(dup.dtype.element_ty), mask=inside)
    tl.store(dgate + at, of_gate.to(dgate.dtype.element_ty), mask=inside)


@triton.jit
def _geglu_forward_kernel(
    gate: tl.tensor, up: tl.tensor, y: tl.tensor, size: tl.tensor, BLOCK: tl.constexpr
) -> None:
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    g = tl.load(gate + at, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(up + at, mask=inside, other=0.0).to(tl.float32)
    # Below -80, the exponential could overflow; the result is the same.
    s = tl.sigmoid(tl.maximum(1.59576912 * (g + 0.044715 * g * g * g), -80.0))
    tl.store(y + at, (g * s * u).to(y.dtype.element_ty), mask=inside)


@triton.jit
def _geglu_backward_kernel(
    gate: tl.tensor,
    up: tl.tensor,
    dy: tl.tensor,
    dgate: tl.tensor,
    dup: tl.tensor,
    size: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    g = tl.load(gate + at, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(up + at, mask=inside, other=0.0).to(tl.float32)
    grad = tl.load(dy + at, mask=inside, other=0.0).to(tl.float32)
    # Below -80, the exponential could overflow; the result is the same.
    s = tl.sigmoid(tl.maximum(1.59576912 * (g + 0.044715 * g * g * g), -80.0))
    slope = 1.59576912 * (1.0 + 0.134145 * g * g)
    of_gate = grad * u * s * (1.0 + g * (1.0 - s) * slope)
    tl.store(dup + at, (grad * g * s).to(dup.dtype.element_ty), mask=inside)
    tl.store(dgate + at, of_gate.to(dgate.dtype.element_ty), mask=inside)


@triton.jit
def _rotate_kernel(
    x: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    y: tl.tensor,
    heads: tl.tensor,
    half: tl.tensor,
    turn: tl.tensor,
    BACK: tl.constexpr,
    HEADS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    head, at = tl.arange(0, HEADS)[:, None], tl.arange(0, BLOCK)[None, :]
    inside = (head < heads) & (at < half)
    here = (row * heads + head) * 2 * half + at
    angle = row * 2 * half + at
    # Backward: each half uses the sines of the other half.
    other = half if BACK else 0
    a = tl.load(x + here, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(x + here + half, mask=inside, other=0.0).to(tl.float32)
    known = at < half
    c1 = tl.load(cos + angle, mask=known, other=0.0).to(tl.float32)
    c2 = tl.load(cos + angle + half, mask=known, other=0.0).to(tl.float32)
    s1 = tl.load(sin + angle + other, mask=known, other=0.0).to(tl.float32)
    s2 = tl.load(sin + angle + half - other, mask=known, other=0.0).to(tl.float32)
    first, second = a * c1 - turn * b * s1, b * c2 + turn * a * s2
    tl.store(y + here, first.to(y.dtype.element_ty), mask=inside)
    tl.store(y + here + half, second.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _cross_entropy_kernel(
    logit: tl.tensor,
    target: tl.tensor,
    loss: tl.tensor,
    columns: tl.tensor,
    GRAD: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    logit += row * columns
    wanted = tl.load(target + row)
    counts = wanted >= 0
    at = tl.arange(0, BLOCK)
    most = float("-inf")
    total = 0.0
    for start in range(0, columns, BLOCK):
        x = tl.load(logit + start + at, mask=start + at < columns, other=float("-inf"))
        x = x.to(tl.float32)
        higher = tl.maximum(most, tl.max(x, 0))
        total = total * tl.exp(most - higher) + tl.sum(tl.exp(x - higher), 0)
        most = higher
    every = most + tl.log(total)
    picked = tl.load(logit + wanted, mask=counts, other=0.0).to(tl.float32)
    tl.store(loss + row, tl.where(counts, every - picked, 0.0))
    if GRAD:
        # No thread may overwrite logits before all have read `picked`.
        tl.debug_barrier()
        for start in range(0, columns, BLOCK):
            column = start + at
            x = tl.load(logit + column, mask=column < columns, other=0.0).to(tl.float32)
            grad = tl.exp(x - every) - (column == wanted).to(tl.float32)
            grad = tl.where(counts, grad, 0.0)
            tl.store(logit + column, grad.to(logit.dtype.element_ty), mask=column < columns)


def norm_forward(
    x: torch.Tensor,
    gain: torch.Tensor,
    y: torch.Tensor,
    r: torch.Tensor,
    rows: int,
    width: int,
    eps: float,
) -> None:
    """Y = x r gain, r = 1 / sqrt(mean(x^2) + eps)."""
    block = triton.next_power_of_2(width)
    _norm_forward_kernel[(rows,)](x, gain, y, r, width, eps, BLOCK=block, num_warps=_warps(block))


def norm_backward(
    x: torch.Tensor,
    gain: torch.Tensor,
    r: torch.Tensor,
    dy: torch.Tensor,
    dx: torch.Tensor,
    rows: int,
    width: int,
) -> None:
    """Dx = r (g - x r mean(g x r)), g = dy gain."""
    block = triton.next_power_of_2(width)
    _norm_backward_kernel[(rows,)](x, gain, r, dy, dx, width, BLOCK=block, num_warps=_warps(block))


def swiglu_forward(gate: torch.Tensor, up: torch.Tensor, y: torch.Tensor, size: int) -> None:
    """Y = silu(gate) up."""
    _swiglu_forward_kernel[(triton.cdiv(size, _FLAT),)](gate, up, y, size, BLOCK=_FLAT)


def swiglu_backward(
    gate: torch.Tensor,
    up: torch.Tensor,
    dy: torch.Tensor,
    dgate: torch.Tensor,
    dup: torch.Tensor,
    size: int,
) -> None:
    """The gradients of gate and up."""
    grid = (triton.cdiv(size, _FLAT),)
    _swiglu_backward_kernel[grid](gate, up, dy, dgate, dup, size, BLOCK=_FLAT)


def geglu_forward(gate: torch.Tensor, up: torch.Tensor, y: torch.Tensor, size: int) -> None:
    """Y = gelu(gate) up, with gelu's tanh approximation."""
    _geglu_forward_kernel[(triton.cdiv(size, _FLAT),)](gate, up, y, size, BLOCK=_FLAT)


def geglu_backward(
    gate: torch.Tensor,
    up: torch.Tensor,
    dy: torch.Tensor,
    dgate: torch.Tensor,
    dup: torch.Tensor,
    size: int,
) -> None:
    """The gradients of gate and up."""
    grid = (triton.cdiv(size, _FLAT),)
    _geglu_backward_kernel[grid](gate, up, dy, dgate, dup, size, BLOCK=_FLAT)


def rotate(
    x: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    y: torch.Tensor,
    rows: int,
    heads: int,
    width: int,
    turn: int,
) -> None:
    """Rotary embedding that pairs a head's two halves, forward (1) or backward (-1)."""
    blocks = {"HEADS": triton.next_power_of_2(heads), "BLOCK": triton.next_power_of_2(width // 2)}
    _rotate_kernel[(rows,)](x, cos, sin, y, heads, width // 2, float(turn), BACK=turn < 0, **blocks)


def cross_entropy(
    logit: torch.Tensor,
    target: torch.Tensor,
    loss: torch.Tensor,
    rows: int,
    columns: int,
    grad: int,
) -> None:
    """The loss of each row, 0 for a negative target, and the gradient in place of the logits."""
    block = min(_COLUMNS, triton.next_power_of_2(columns))
    _cross_entropy_kernel[(rows,)](
        logit, target, loss, columns, GRAD=bool(grad), BLOCK=block, num_warps=_warps(block)
    )


def _warps(block: int) -> int:
    """The number of warps for a program with so many values: 16 per thread where possible."""
    return min(16, max(1, block // 512))


LOOPS: dict[str, Callable[..., None]] = {
    loop.__name__: loop
    for loop in (
        norm_forward, norm_backward, swiglu_forward, swiglu_backward, geglu_forward,
        geglu_backward, rotate, cross_entropy
    )
}  # fmt: skip
