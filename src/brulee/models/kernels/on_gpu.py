"""Find the Triton kernels for a GPU, if Triton works there."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import warnings
from collections.abc import Callable
from typing import Any

import torch

_FORMATS = (torch.float32, torch.bfloat16, torch.float16)


def loop(
    name: str, device: torch.device, x: torch.dtype, y: torch.dtype
) -> Callable[..., None] | None:
    """The kernel for inputs in dtype `x` and products in `y`; None if there is none."""
    if x not in _FORMATS or y not in _FORMATS:
        return None
    if not all(_runs(device, dtype) for dtype in (x, y)):
        return None
    from brulee.models.kernels.in_triton import LOOPS

    found = LOOPS.get(name)
    return None if found is None else functools.partial(_on_device, found, device)


def _on_device(run: Callable[..., None], device: torch.device, *arguments: Any) -> None:
    """Run a kernel on the tensors' GPU: Triton launches on the current one, maybe another.

    Raises RuntimeError where it cannot be compiled or launched.
    """
    try:
        if torch.cuda.current_device() == device.index:  # saves the time of switching
            run(*arguments)
            return
        with torch.cuda.device(device):
            run(*arguments)
    except _triton_error() as error:  # called only if there is an error
        raise RuntimeError(str(error)) from error


def _triton_error() -> type[Exception]:
    """Triton's own, such as for a GPU newer than its assembler, are no RuntimeErrors."""
    from triton.errors import TritonError

    found: type[Exception] = TritonError
    return found


@functools.cache
def _runs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether Triton is installed and compiles for this GPU, which also needs a C compiler.

    Tested per dtype, since not every GPU with fp32 also has bf16.
    """
    if importlib.util.find_spec("triton") is None:
        return False
    try:
        _try(device, dtype)
    except (RuntimeError, OSError, ImportError, subprocess.CalledProcessError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        warnings.warn(
            f"PyTorch's own operations are used instead, somewhat slower: the loops in Triton do "
            f"not run on {device} in {dtype}: {first}",
            stacklevel=2,
        )
        return False
    return True


def _try(device: torch.device, dtype: torch.dtype) -> None:
    from brulee.models.kernels.in_triton import swiglu_forward

    one = torch.ones(4, device=device, dtype=dtype)
    _on_device(swiglu_forward, device, one, one, torch.empty_like(one), 4)
    torch.cuda.synchronize(device)
