"""The loops in Triton: what they compute, in its interpreter, and that they compile for GPUs."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.lib import NumpyVersion

interpreter = pytest.importorskip("triton.runtime.interpreter")

_NUMPY = NumpyVersion(np.__version__)
FORMATS = [torch.float32, torch.bfloat16]
NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16"}


def test_they_compute_what_the_loops_in_c_do() -> None:
    if "squeeze" not in inspect.getsource(interpreter) and _NUMPY >= "2.5.0":
        pytest.skip("the interpreter of this Triton makes numbers in a way that NumPy 2.5 refuses")
    tests = Path(__file__).parent / "interpreted_kernels.py"
    # An older interpreter of Triton warns of itself with a newer numpy.
    own = ["-p", "no:cacheprovider", "-W", "ignore::DeprecationWarning"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *own, str(tests)],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


# By kernel: its pointers, its numbers, and a block for each constant.
_ROW = {"BLOCK": 1024}
SIGNATURES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "_norm_forward_kernel": ("xxyf", "if", _ROW),
    "_norm_backward_kernel": ("xxfyx", "i", _ROW),
    "_swiglu_forward_kernel": ("yyy", "i", _ROW),
    "_swiglu_backward_kernel": ("yyyyy", "i", _ROW),
    "_geglu_forward_kernel": ("yyy", "i", _ROW),
    "_geglu_backward_kernel": ("yyyyy", "i", _ROW),
    "_rotate_kernel": ("yyyy", "iif", {"BACK": True, "HEADS": 16, "BLOCK": 32}),
    "_cross_entropy_kernel": ("yLf", "i", {"GRAD": True, "BLOCK": 4096}),
}


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("x", FORMATS)
@pytest.mark.parametrize("name", SIGNATURES)
def test_compiles_for_a_gpu(
    name: str, x: torch.dtype, capability: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To machine code, by Triton's own assembler; nothing of it needs the GPU."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from brulee.models.kernels import in_triton

    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")
    function = getattr(in_triton, name)
    pointers, numbers, constants = SIGNATURES[name]
    kinds = {"x": NAMES[x], "y": "bf16", "f": "fp32", "L": "i64"}
    types = [f"*{kinds[p]}" for p in pointers] + [
        {"i": "i32", "f": "fp32"}[number] for number in numbers
    ]
    types += ["constexpr"] * len(constants)
    signature = dict(zip(function.arg_names, types, strict=True))
    source = ASTSource(function, signature=signature, constexprs=constants)
    built = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    assert built.asm["cubin"]
