"""Loops in Triton are left out where they do not run, format by format; no GPU is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch

pytest.importorskip("triton")

from triton.runtime.errors import OutOfResources, PTXASError

from brulee.models.kernels import in_triton, on_gpu, trying

GPU = torch.device("cpu")  # where the tensors of the trial are; nothing is launched


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    on_gpu._runs.cache_clear()
    yield
    on_gpu._runs.cache_clear()


def _refusing(refused: torch.dtype, error: Exception) -> Any:
    def swiglu_forward(gate: torch.Tensor, *_: Any) -> None:
        if gate.dtype == refused:
            raise error

    return swiglu_forward


@pytest.mark.parametrize(
    "error",
    [
        PTXASError("Value 'sm_999' is not defined for option 'gpu-name'"),
        RuntimeError("Failed to find C compiler"),
        OutOfResources(300_000, 232_448, "shared memory"),
    ],
    ids=["assembler", "compiler", "resources"],
)
def test_a_format_that_does_not_compile_is_told_of_and_left_out(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(in_triton, "swiglu_forward", _refusing(torch.bfloat16, error))
    assert on_gpu.loop("norm_forward", GPU, torch.float32, torch.float32) is not None
    with pytest.warns(UserWarning, match=r"do not run on cpu in torch.bfloat16: "):
        found = on_gpu.loop("norm_forward", GPU, torch.float32, torch.bfloat16)
    assert found is None
    assert on_gpu.loop("rotate", GPU, torch.bfloat16, torch.bfloat16) is None, "told once"


def test_only_loops_that_there_are_and_formats_of_theirs_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(in_triton, "swiglu_forward", lambda *_: None)
    assert on_gpu.loop("attend_forward", GPU, torch.float32, torch.float32) is None
    assert on_gpu.loop("rotate", GPU, torch.float64, torch.float64) is None
    assert on_gpu.loop("rotate", GPU, torch.float16, torch.float16) is not None


def test_a_loop_that_does_not_compile_where_others_do_is_found_wrong_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def rotate(*_: Any) -> None:
        raise OutOfResources(300_000, 232_448, "shared memory")

    monkeypatch.setattr(in_triton, "swiglu_forward", lambda *_: None)
    monkeypatch.setitem(in_triton.LOOPS, "rotate", rotate)
    run = on_gpu.loop("rotate", GPU, torch.float32, torch.float32)
    assert run is not None
    said = trying.fault("rotate", run, GPU, torch.float32, torch.float32)
    assert said is not None
    assert "out of resource: shared memory" in said
