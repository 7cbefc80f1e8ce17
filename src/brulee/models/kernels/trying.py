"""Test a kernel on small tensors, on the device where it will run.

A kernel may be wrong with another compiler, processor or GPU, and a wrong gradient would go
unnoticed in training: the test of a whole model (fused_trial.py) is forward only. Expected results
are computed in float64 on the CPU; errors are relative, by the norm of a whole output.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import torch

_ROWS, _WIDTH, _EPS = 6, 80, 1e-5
_SIZE = 1100  # of a flat tensor: more than one program of in_triton.py handles
_COLUMNS = 4200  # of logits: more than one block of in_triton.py
_HEADS = (5, 3, 32)  # tokens, heads, width
_TURN_UP: Final = 2 * math.sqrt(2 / math.pi)  # tanh-gelu(x) = x sigmoid(_TURN_UP (...))


@dataclass(frozen=True)
class Case:
    """Arguments of a kernel, on the CPU, and expected results by the position of their argument."""

    arguments: tuple[Any, ...]
    expected: dict[int, torch.Tensor]


def fault(
    name: str, run: Callable[..., None], device: torch.device, x: torch.dtype, y: torch.dtype
) -> str | None:
    """What is wrong with a kernel on a device for inputs in `x` and products in `y`, or None.

    Also None for kernels without a test here.
    """
    for case in _CASES[name](x, y) if name in _CASES else ():
        there = [a.to(device) if isinstance(a, torch.Tensor) else a for a in case.arguments]
        try:
            run(*there)
            found = {place: there[place].cpu().double() for place in case.expected}
        except RuntimeError as error:  # this kernel cannot run here, though another one can
            return next(iter(str(error).strip().splitlines()), type(error).__name__)
        for place, expected in case.expected.items():
            most = 1e-4 if there[place].dtype == torch.float32 else 5e-3
            off = float((found[place] - expected).norm() / expected.norm())
            if not off <= most:  # true for NaN
                return f"{name} is off by {off:.1e} of its result"
    return None


def _drawn(seed: int, *shape: int, dtype: torch.dtype) -> torch.Tensor:
    with torch.device("cpu"):
        draw = torch.Generator().manual_seed(seed)
        return torch.randn(shape, generator=draw, dtype=torch.float32).to(dtype)


def _empty(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.full(shape, math.nan, dtype=dtype, device="cpu")


def _norm_forward(x: torch.dtype, y: torch.dtype) -> Iterator[Case]:
    rows, gain, r = _normed(x)
    out = rows.double() * r * gain.double()
    there = _empty(*rows.shape, dtype=y), _empty(_ROWS, 1, dtype=torch.float32)
    yield Case((rows, gain, *there, _ROWS, _WIDTH, _EPS), {2: out, 3: r})


def _norm_backward(x: torch.dtype, y: torch.dtype) -> Iterator[Case]:
    rows, gain, r = _normed(x)
    d_y = _drawn(2, _ROWS, _WIDTH, dtype=y)
    wide, grad = rows.double(), d_y.double() * gain.double()
    d_x = r * (grad - wide * r.square() * (grad * wide).mean(-1, keepdim=True))
    there = _empty(*rows.shape, dtype=x)
    yield Case((rows, gain, r.float(), d_y, there, _ROWS, _WIDTH), {4: d_x})


def _norm_gain(x: torch.dtype, y: torch.dtype) -> Iterator[Case]:
    rows, _, r = _normed(x)
    d_y = _drawn(2, _ROWS, _WIDTH, dtype=y)
    each, parts = d_y.double() * rows.double() * r, 4
    ends = [part * _ROWS // parts for part in range(parts + 1)]
    sums = torch.stack([each[a:b].sum(0) for a, b in pairwise(ends)])
    there = _empty(parts, _WIDTH, dtype=torch.float32)
    yield Case((rows, r.float(), d_y, there, _ROWS, _WIDTH, parts), {3: sums})


def _normed(x: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rows = _drawn(0, _ROWS, _WIDTH, dtype=x)
    r = (rows.double().square().mean(-1, keepdim=True) + _EPS).rsqrt()
    return rows, _drawn(1, _WIDTH, dtype=torch.float32), r


def _gate_forward(by: str, _: torch.dtype, y: torch.dtype) -> Iterator[Case]:
    gate, up = (_drawn(seed, _SIZE, dtype=y) for seed in range(2))
    active, _slope = _activated(by, gate.double())
    there = _empty(_SIZE, dtype=y)
    yield Case((gate, up, there, _SIZE), {2: active * up.double()})


def _gate_backward(by: str, _: torch.dtype, y: torch.dtype) -> Iterator[Case]:
    gate, up, d_y = (_drawn(seed, _SIZE, dtype=y) for seed in range(3))
    active, slope = _activated(by, gate.double())
    wide = d_y.double()
    there = _empty(_SIZE, dtype=y), _empty(_SIZE, dtype=y)
    expected = {3: wide * up.double() * slope, 4: wide * active}
    yield Case((gate, up, d_y, *there, _SIZE), expected)


def _activated(by: str, gate: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The activation and its derivative."""
    inner = gate if by == "silu" else _TURN_UP * (gate + 0.044715 * gate**3)
    steep = torch.ones_like(gate) if by == "silu" else _TURN_UP * (1 + 3 * 0.044715 * gate**2)
    s = torch.sigmoid(inner)
    return gate * s, s + gate * s * (1 - s) * steep


def _drop(_: torch.dtype, y: torch.dtype) -> Iterator[Case]:
    x, seeds, least = _drawn(0, _SIZE, dtype=y), (7, 2**32 - 3), 2**30
    drawn = [_scattered(place, *seeds) for place in range(_SIZE)]
    kept = torch.tensor([float(number >= least) for number in drawn], device="cpu")
    there = _empty(_SIZE, dtype=y)
    yield Case((x, there, _SIZE, *seeds, least, 1.5), {1: 1.5 * kept.double() * x.double()})


def _scattered(place: int, seed: int, seed_2: int) -> int:
    """The 32-bit hash of a position, as in formats.c."""
    h = place ^ seed
    for key in (seed_2, 0):
        h = (h ^ h >> 16) * 0x21F0AAAD % 2**32
        h = (h ^ key ^ h >> 15) * 0xD35A2D97 % 2**32
        h ^= h >> 15
    return h


def _rotate(_: torch.dtype, y: torch.dtype) -> Iterator[Case]:
    tokens, heads, width = _HEADS
    given = _drawn(0, tokens, heads, width, dtype=y)
    cos, sin = (_drawn(seed, tokens, width, dtype=y) for seed in (1, 2))
    c, s, half = cos.double()[:, None], sin.double()[:, None], width // 2
    first, second = given.double()[..., :half], given.double()[..., half:]
    for turn in (1, -1):
        s1, s2 = (s[..., :half], s[..., half:])[::turn]
        one = first * c[..., :half] - turn * second * s1
        two = second * c[..., half:] + turn * first * s2
        there = _empty(tokens, heads, width, dtype=y)
        yield Case((given, cos, sin, there, *_HEADS, turn), {3: torch.cat([one, two], -1)})


def _linear(x: torch.dtype, _: torch.dtype) -> Iterator[Case]:
    """Sizes that are not multiples of blocks; both layouts of the weight, one with a bias."""
    rows, inputs, outputs = 13, 300, 45
    given = _drawn(0, rows, inputs, dtype=x)
    weight, bias = _drawn(1, outputs, inputs, dtype=x), _drawn(2, outputs, dtype=x)
    plain = given.double() @ weight.double().t()
    for lies, beside in ((weight, bias), (weight.t().contiguous().t(), None)):
        out = _empty(rows, outputs, dtype=x)
        sizes = (rows, inputs, outputs, *lies.stride())
        expected = plain if beside is None else plain + beside.double()
        yield Case((given, lies, beside, out, *sizes), {3: expected})


def _cross_entropy(_: torch.dtype, y: torch.dtype) -> Iterator[Case]:
    logits = _drawn(0, 3, _COLUMNS, dtype=y)
    target = torch.tensor([_COLUMNS - 1, -1, 7], device="cpu")
    counts = (target >= 0).double()
    logs = logits.double().log_softmax(-1)
    wanted = target.clamp(min=0)[:, None]
    loss = -logs.gather(1, wanted)[:, 0] * counts
    grad = (logs.exp() - torch.zeros_like(logs).scatter_(1, wanted, 1.0)) * counts[:, None]
    there = _empty(3, dtype=torch.float32)
    yield Case((logits, target, there, 3, _COLUMNS, 1), {0: grad, 2: loss})


_CASES: Final[dict[str, Callable[[torch.dtype, torch.dtype], Iterator[Case]]]] = {
    "norm_forward": _norm_forward,
    "norm_backward": _norm_backward,
    "norm_gain": _norm_gain,
    "swiglu_forward": functools.partial(_gate_forward, "silu"),
    "swiglu_backward": functools.partial(_gate_backward, "silu"),
    "geglu_forward": functools.partial(_gate_forward, "gelu"),
    "geglu_backward": functools.partial(_gate_backward, "gelu"),
    "drop": _drop,
    "linear": _linear,
    "rotate": _rotate,
    "cross_entropy": _cross_entropy,
}
