"""The loops in C compute what PyTorch's own operations compute."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from brulee import progress
from brulee.errors import InputError
from brulee.models import fused_attention, kernels
from brulee.models.fused_attention import attend, reading
from brulee.models.fused_norm import rms_norm
from brulee.models.fused_rope import rotate
from brulee.models.fused_swiglu import gated
from brulee.models.kernels import in_c
from brulee.models.linear_cross_entropy import linear_cross_entropy
from brulee.models.spans import spans_of

CPU = torch.device("cpu")
FORMATS = [torch.float32, torch.bfloat16]
compiled = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
Compute = Callable[..., torch.Tensor]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What was found out about the compiler is found out again, before and after."""
    monkeypatch.delenv("BRULEE_KERNELS", raising=False)
    _forget()
    yield
    _forget()


def _forget() -> None:
    for found in (kernels._found, in_c.loop, in_c._library):
        found.cache_clear()


def _draw(*shape: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw).to(dtype).requires_grad_()


def _with_gradients(compute: Compute, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    out = compute(*inputs)
    d_out = _draw(*out.shape, dtype=out.dtype, seed=9)
    return [out, *torch.autograd.grad(out, inputs, d_out)]


def _compare(
    compute: Compute,
    inputs: list[torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    dtype: torch.dtype,
) -> None:
    """In C, with PyTorch, and against PyTorch in fp64."""
    _forget()
    ours = _with_gradients(compute, inputs)
    assert kernels.language(CPU) == "C"
    monkeypatch.setenv("BRULEE_KERNELS", "torch")
    _forget()
    assert kernels.language(CPU) == "PyTorch"
    theirs = _with_gradients(compute, inputs)
    exact = _with_gradients(compute, [x.detach().double().requires_grad_() for x in inputs])
    tolerance = 2e-6 if dtype == torch.float32 else 2e-2  # a few units of the last place
    for mine, torchs, truth in zip(ours, theirs, exact, strict=True):
        assert mine.dtype == torchs.dtype
        scale = truth.abs().max()
        assert (mine - truth).abs().max() <= tolerance * scale
        # No further from the truth than PyTorch, but for a unit of the last place.
        assert (mine - truth).norm() <= 1.5 * (torchs - truth).norm() + 1e-7 * truth.norm()


@compiled
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("shape", [(1, 8), (5, 17), (3, 2, 64), (130, 576)])
def test_norm(dtype: torch.dtype, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    x, gain = _draw(*shape, dtype=dtype, seed=0), _draw(shape[-1], dtype=dtype, seed=1)

    def compute(x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return rms_norm(x, gain, 1e-5, x.dtype)

    _compare(compute, [x, gain], monkeypatch, dtype)


@compiled
def test_the_gradient_of_a_gain_does_not_depend_on_threads() -> None:
    _forget()
    x, gain = _draw(37, 24, dtype=torch.bfloat16, seed=0), _draw(24, dtype=torch.float32, seed=1)
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            found.append(_with_gradients(lambda a, b: rms_norm(a, b, 1e-5, a.dtype), [x, gain]))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@compiled
def test_norm_of_an_fp32_stream_for_bf16_products(monkeypatch: pytest.MonkeyPatch) -> None:
    x, gain = _draw(9, 40, dtype=torch.float32, seed=0), _draw(40, dtype=torch.float32, seed=1)
    ours = _with_gradients(lambda a, b: rms_norm(a, b, 1e-5, torch.bfloat16), [x, gain])
    assert [t.dtype for t in ours] == [torch.bfloat16, torch.float32, torch.float32]
    monkeypatch.setenv("BRULEE_KERNELS", "torch")
    _forget()
    theirs = _with_gradients(lambda a, b: rms_norm(a, b, 1e-5, torch.bfloat16), [x, gain])
    for mine, torchs in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, torchs, rtol=2e-2, atol=2e-2)


@compiled
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("shape", [(1, 3), (7, 100)])
@pytest.mark.parametrize("by", ["silu", "gelu"])
def test_gates(
    by: str, dtype: torch.dtype, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, up = (_draw(*shape, dtype=dtype, seed=seed) for seed in (0, 1))
    with torch.no_grad():
        gate[0, 0], gate[0, 1] = 60, -60
    _compare(lambda a, b: gated(a, b, by), [gate, up], monkeypatch, dtype)


@compiled
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("shape", [(1, 1, 4), (6, 3, 64)])
def test_rotation(
    dtype: torch.dtype, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = _draw(*shape, dtype=dtype, seed=0)
    # Angles that differ between the halves, which a turn back must not mix up.
    cos, sin = (_draw(shape[0], shape[2], dtype=dtype, seed=s).detach() for s in (1, 2))
    compute = lambda x: rotate(x, cos.to(x.dtype), sin.to(x.dtype))  # noqa: E731
    _compare(compute, [x], monkeypatch, dtype)


@compiled
def test_rotation_of_heads_that_lie_one_after_the_other() -> None:
    x = _draw(6, 3, 8, dtype=torch.float32, seed=0)
    cos, sin = (_draw(6, 8, dtype=torch.float32, seed=seed).detach() for seed in (1, 2))
    by_head = x.detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    d_y = _draw(3, 6, 8, dtype=torch.float32, seed=3).detach().transpose(0, 1)
    ours, expected = rotate(by_head, cos, sin), rotate(x, cos, sin)
    assert torch.equal(ours, expected)
    (found,) = torch.autograd.grad(ours, by_head, d_y)
    assert torch.equal(found, *torch.autograd.grad(expected, x, d_y.contiguous()))


@compiled
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("rows", [4, 256])
@pytest.mark.parametrize("window", [None, 1, 7, 42])
def test_attention(
    window: int | None, dtype: torch.dtype, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_attention, "ROWS", rows)
    segments = (3, 5, 1, 40)
    size = sum(segments) + 2  # two rows fill up
    q = _draw(size, 6, 8, dtype=dtype, seed=0)
    k, v = (_draw(size, 2, 8, dtype=dtype, seed=seed) for seed in (1, 2))

    def compute(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return attend(q, k, v, reading(spans_of(segments, 3), len(k), CPU), 0.3, window)

    _compare(compute, [q, k, v], monkeypatch, dtype)


@compiled
@pytest.mark.parametrize("dtype", FORMATS)
def test_cross_entropy(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight = _draw(37, 16, dtype=dtype, seed=0), _draw(300, 16, dtype=dtype, seed=1)
    targets = torch.arange(37) * 8
    compute = lambda h, w: linear_cross_entropy(h, w, targets)  # noqa: E731
    _compare(compute, [hidden, weight], monkeypatch, dtype)


@compiled
def test_the_number_of_threads_changes_nothing() -> None:
    x, gain = _draw(33, 20, dtype=torch.bfloat16, seed=0), _draw(20, dtype=torch.float32, seed=1)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(_with_gradients(lambda x: rms_norm(x, gain, 1e-5, x.dtype), [x]))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@compiled
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", FORMATS)
def test_what_is_not_finite_is_not_lost(value: float, dtype: torch.dtype) -> None:
    x = _draw(4, 16, dtype=dtype, seed=0)
    with torch.no_grad():
        x[1, 3] = value
    out = rms_norm(x, torch.ones(16), 1e-5, dtype)
    assert not out[1].isfinite().all()
    assert out[0].isfinite().all()
    assert not gated(x, x)[1, 3].isfinite()
    q, k, v = (_draw(4, 1, 16, dtype=dtype, seed=seed).detach() for seed in (0, 1, 2))
    k[1, 0, 0] = float("nan")
    out = attend(q, k, v, reading(spans_of((4,), 0), 4, CPU), 1.0)
    assert out[0].isfinite().all()
    assert not out[1:].isfinite().any()


@pytest.mark.parametrize("broken", ["exit 1", "echo 'no such thing' >&2; exit 1"])
def test_a_compiler_that_fails_is_told_of_and_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    gcc = tmp_path / "gcc"
    gcc.write_text(f"#!/bin/sh\n{broken}\n")
    gcc.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    _forget()
    x = _draw(2, 8, dtype=torch.float32, seed=0)
    with pytest.warns(UserWarning, match="could not be compiled"):
        found = rms_norm(x, torch.ones(8), 1e-5, torch.float32)
    torch.testing.assert_close(found, torch.nn.functional.rms_norm(x, (8,), eps=1e-5))


def test_without_a_compiler_there_is_no_warning_but_a_note_at_the_start_of_a_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    _forget()
    assert kernels.kernel("norm_forward", torch.ones(2)) is None
    with progress.shown(True):
        kernels.say_if_missing(torch.device("cuda"))
        assert capsys.readouterr().err == ""
        kernels.say_if_missing(CPU)
        assert capsys.readouterr().err.startswith("No gcc was found to compile brulee's loops")
        monkeypatch.setenv("BRULEE_KERNELS", "torch")
        kernels.say_if_missing(CPU)
        assert capsys.readouterr().err == ""


@compiled
def test_the_source_compiles_without_a_warning(tmp_path: Path) -> None:
    strict = ["gcc", "-Wall", "-Wextra", "-Werror", *in_c._FLAGS, str(in_c.SOURCE)]
    subprocess.run([*strict, "-o", str(tmp_path / "out.o")], check=True, stderr=sys.stderr)


@compiled
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_memory_that_runs_out_is_an_error_and_no_crash(threads: int) -> None:
    """As MemoryError, which training answers with smaller passes."""
    script = Path(__file__).with_name("short_of_memory.py")
    run = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert [line.split()[:2] for line in run.stdout.splitlines()] == [
        [name, "MemoryError"] for name in ("attend_forward", "attend_backward", "attend_rows")
    ]


def test_a_mistyped_choice_of_kernels_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRULEE_KERNELS", "pytorch")
    with pytest.raises(InputError, match=r"BRULEE_KERNELS=pytorch is not known; valid: torch, or"):
        kernels.language(CPU)


@compiled
@pytest.mark.skipif(not in_c._MAPPED.exists(), reason="needs /proc")
def test_a_runtime_of_openmp_that_other_libraries_do_not_see_is_shown_to_them(
    tmp_path: Path,
) -> None:
    """As in PyTorch's wheels for ARM."""
    sources = {
        "libgomp-of-test.so.1": "int omp_of_test(void) { return 7; }",
        "kernels.so": "int omp_of_test(void); int asked(void) { return omp_of_test(); }",
    }
    for name, source in sources.items():
        (tmp_path / "source.c").write_text(source)
        command = [
            "gcc",
            "-shared",
            "-fPIC",
            str(tmp_path / "source.c"),
            "-o",
            str(tmp_path / name),
        ]
        subprocess.run(command, check=True)
    with pytest.raises(OSError, match="omp_of_test"):
        in_c._opened(tmp_path / "kernels.so")
    ctypes.CDLL(str(tmp_path / "libgomp-of-test.so.1"))
    assert in_c._opened(tmp_path / "kernels.so").asked() == 7
