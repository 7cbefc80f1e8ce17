"""The loops in Triton compute what those in C do, in Triton's interpreter.

Triton decides when it is imported whether it interprets, so test_kernels_in_triton.py runs these
tests in a process of their own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch

from brulee.models.kernels import in_c, in_triton, trying

FP32, BF16 = FORMATS = [torch.float32, torch.bfloat16]
compiled = pytest.mark.skipif(shutil.which("gcc") is None, reason="compares with loops in C")


def _draw(*shape: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def _both(
    name: str, x: torch.dtype, y: torch.dtype, *arguments: Any
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Tensors after the loop in Triton and after the one in C; they are written in place."""
    first = [a.clone() if isinstance(a, torch.Tensor) else a for a in arguments]
    in_triton.LOOPS[name](*first)
    loop: Callable[..., None] | None = in_c.loop(name, x, y)
    assert loop is not None
    plain = [a.clone() if isinstance(a, torch.Tensor) else a for a in arguments]
    loop(*plain)
    pairs = zip(first, plain, strict=True)
    return [(one, two) for one, two in pairs if isinstance(one, torch.Tensor)]


def _assert_same(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """To a unit of the last place of bf16 at the most, and otherwise far closer."""
    for one, two in pairs:
        tolerance = 1e-5 if one.dtype == torch.float32 else 1e-2
        torch.testing.assert_close(one, two, rtol=tolerance, atol=1e-5)


@compiled
@pytest.mark.parametrize("width", [1, 40, 576, 1100])
@pytest.mark.parametrize(("x", "y"), [(FP32, FP32), (FP32, BF16), (BF16, BF16)])
def test_norm(width: int, x: torch.dtype, y: torch.dtype) -> None:
    rows = _draw(5, width, dtype=x, seed=0)
    gain = _draw(width, dtype=torch.float32, seed=1)
    r, out = torch.zeros(5), torch.zeros(5, width, dtype=y)
    found = _both("norm_forward", x, y, rows, gain, out, r, 5, width, 1e-5)
    _assert_same(found)
    r = found[3][1]
    assert r.abs().min() > 0
    d_y, d_x = _draw(5, width, dtype=y, seed=2), torch.zeros(5, width, dtype=x)
    _assert_same(_both("norm_backward", x, y, rows, gain, r, d_y, d_x, 5, width))


@compiled
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("size", [3, 1024, 2500])
@pytest.mark.parametrize("gate_by", ["swiglu", "geglu"])
def test_gates(gate_by: str, size: int, dtype: torch.dtype) -> None:
    gate, up, d_y = (_draw(size, dtype=dtype, seed=seed) for seed in range(3))
    gate[0], gate[1] = 60, -60
    out = torch.zeros(size, dtype=dtype)
    forward = _both(f"{gate_by}_forward", dtype, dtype, gate, up, out, size)
    _assert_same(forward)
    assert forward[2][0].abs().sum() > 0
    grads = [torch.zeros(size, dtype=dtype) for _ in range(2)]
    _assert_same(_both(f"{gate_by}_backward", dtype, dtype, gate, up, d_y, *grads, size))


@compiled
@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize("shape", [(1, 1, 2), (6, 3, 64), (4, 9, 80)])
@pytest.mark.parametrize("dtype", FORMATS)
def test_rotation(dtype: torch.dtype, shape: tuple[int, int, int], turn: int) -> None:
    x, out = _draw(*shape, dtype=dtype, seed=0), torch.zeros(shape, dtype=dtype)
    cos, sin = (_draw(shape[0], shape[2], dtype=dtype, seed=seed) for seed in (1, 2))
    found = _both("rotate", dtype, dtype, x, cos, sin, out, *shape, turn)
    _assert_same(found)
    assert found[3][0].abs().min() > 0


@compiled
@pytest.mark.parametrize("grad", [0, 1])
@pytest.mark.parametrize("columns", [3, 4096, 9001])
@pytest.mark.parametrize("dtype", FORMATS)
def test_cross_entropy(dtype: torch.dtype, columns: int, grad: int) -> None:
    logits = 4 * _draw(4, columns, dtype=dtype, seed=0)
    target = torch.tensor([columns - 1, 0, -1, 1])
    loss = torch.full((4,), 7.0)
    found = _both("cross_entropy", dtype, dtype, logits, target, loss, 4, columns, grad)
    _assert_same(found)
    (after, _), _, (losses, _) = found
    assert losses[2] == 0
    assert losses[[0, 1, 3]].min() > 0
    assert (after[2].abs().max() == 0) == bool(grad)
    assert torch.equal(after, logits) != bool(grad)


@compiled
def test_a_logit_that_is_no_number_is_not_hidden() -> None:
    logits = torch.zeros(2, 5000)
    logits[1, 4500] = torch.nan
    loss = torch.zeros(2)
    in_triton.cross_entropy(logits, torch.tensor([3, 3]), loss, 2, 5000, 1)
    assert loss.isnan().tolist() == [False, True]


def test_a_gain_in_bf16_is_read_as_it_is() -> None:
    x, gain = _draw(3, 50, dtype=BF16, seed=0), _draw(50, dtype=BF16, seed=1)
    outs = [torch.zeros(3, 50, dtype=BF16) for _ in range(2)]
    for out, held in zip(outs, (gain, gain.float()), strict=True):
        in_triton.norm_forward(x, held, out, torch.zeros(3), 3, 50, 1e-5)
    assert outs[0].abs().sum() > 0
    assert torch.equal(*outs)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("name", in_triton.LOOPS)
def test_the_trial_before_its_use_finds_nothing_wrong(name: str, dtype: torch.dtype) -> None:
    run = in_triton.LOOPS[name]
    assert trying.fault(name, run, torch.device("cpu"), dtype, dtype) is None
