"""A loop that computes something else is found before it is used, and not used."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from brulee.models import kernels
from brulee.models.fused_norm import rms_norm
from brulee.models.kernels import in_c, trying

CPU = torch.device("cpu")
PAIRS = [
    (torch.float32, torch.float32),
    (torch.float32, torch.bfloat16),
    (torch.bfloat16, torch.bfloat16),
]
# Loops that are there in one pair of formats alone.
ALONE = {"linear": PAIRS[0]}
TRIED = [(n, *pair) for n in trying._CASES for pair in PAIRS if ALONE.get(n, pair) == pair]
Loop = Callable[..., None]
pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("BRULEE_KERNELS", raising=False)
    kernels._found.cache_clear()
    yield
    kernels._found.cache_clear()


def _loop(name: str, x: torch.dtype, y: torch.dtype) -> Loop:
    found = in_c.loop(name, x, y)
    assert found is not None
    return found


def test_every_loop_of_a_gpu_is_tried() -> None:
    pytest.importorskip("triton")
    from brulee.models.kernels.in_triton import LOOPS

    assert set(LOOPS) <= set(trying._CASES)


@pytest.mark.parametrize(("name", "x", "y"), TRIED)
def test_loops_in_c_are_right_and_nearly_right_is_not(
    name: str, x: torch.dtype, y: torch.dtype
) -> None:
    run = _loop(name, x, y)
    assert trying.fault(name, run, CPU, x, y) is None
    for case in trying._CASES[name](x, y):
        for place in case.expected:

            def nearly(*given: Any, place: int = place) -> None:
                run(*given)
                given[place].mul_(1.03)

            assert f"{name} is off by " in (trying.fault(name, nearly, CPU, x, y) or "")


def test_one_that_writes_nothing_or_fails_is_told() -> None:
    said = trying.fault("rotate", lambda *_: None, CPU, torch.float32, torch.float32)
    assert said == "rotate is off by nan of its result"

    def failing(*_: Any) -> None:
        raise RuntimeError("no room for it\nat line 3")

    said = trying.fault("rotate", failing, CPU, torch.float32, torch.float32)
    assert said == "no room for it"


def test_a_wrong_gradient_is_computed_by_pytorch_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    right = in_c.loop

    def wrong(name: str, x: torch.dtype, y: torch.dtype) -> Loop | None:
        run = right(name, x, y)
        if name != "norm_backward" or run is None:
            return run

        def call(*given: Any) -> None:
            run(*given)
            given[4].neg_()

        return call

    x = torch.randn(4, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    gain = torch.ones(16)
    expected = torch.autograd.grad(rms_norm(x, gain, 1e-5, torch.float32)[:, 0].sum(), x)
    kernels._found.cache_clear()
    monkeypatch.setattr(in_c, "loop", wrong)
    with pytest.warns(UserWarning, match="on cpu in torch.float32: norm_backward is off by 2"):
        found = torch.autograd.grad(rms_norm(x, gain, 1e-5, torch.float32)[:, 0].sum(), x)
    torch.testing.assert_close(found, expected)
    assert kernels.kernel("norm_forward", x) is not None
