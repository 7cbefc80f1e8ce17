"""Hand-written kernels, which fuse operations that take PyTorch several passes over memory.

PyTorch takes three to eight passes over memory for a norm, a gate, a rotary embedding or a softmax;
a kernel here takes one. On a CPU kernels are in C, compiled at first use (in_c.py), on a GPU in
Triton (in_triton.py), and each is tested on the device before it is used (trying.py). Where there
is no kernel, or the test fails, PyTorch's own operations give the same up to rounding;
`BRULEE_KERNELS=torch` forces these. Speedups are in docs/performance.md.
"""

from __future__ import annotations

import functools
import os
import shutil
import warnings
from collections.abc import Callable

import torch

from brulee.errors import InputError
from brulee.models.kernels import in_c, trying
from brulee.progress import note


def kernel(
    name: str, x: torch.Tensor, dtype: torch.dtype | None = None
) -> Callable[..., None] | None:
    """The kernel `name` for inputs like x and products in `dtype`; None if there is none.

    It takes contiguous tensors, sizes and scalars in the order of kernels.c, without `threads`.
    Raises InputError where the environment's BRULEE_KERNELS has another value than `torch`.
    """
    return _found(name, x.device, x.dtype, dtype or x.dtype, os.environ.get("BRULEE_KERNELS"))


def language(device: torch.device) -> str:
    """The language of the kernels used on this device: "C", "Triton", or "PyTorch" for none."""
    found = kernel("norm_forward", torch.empty(0, device=device))
    return "PyTorch" if found is None else {"cpu": "C", "cuda": "Triton"}[device.type]


def say_if_missing(device: torch.device) -> None:
    """Note it if the kernels of a CPU, although wanted, cannot be compiled for lack of a compiler.

    A compiler that fails is warned of when a kernel is first needed.
    """
    wanted = device.type == "cpu" and not os.environ.get("BRULEE_KERNELS")
    if wanted and shutil.which(in_c.COMPILER) is None:
        note(
            f"No {in_c.COMPILER} was found to compile brulee's loops for this processor; training "
            "may take 1.5 to 2 times as long without them."
        )


@functools.cache
def _found(
    name: str, device: torch.device, x: torch.dtype, y: torch.dtype, asked: str | None
) -> Callable[..., None] | None:
    if asked not in (None, "", "torch"):
        raise InputError(
            f"BRULEE_KERNELS={asked} is not known; valid: torch, or leave it unset for brulee's "
            "own kernels."
        )
    run = None if asked else _of_device(name, device, x, y)
    wrong = None if run is None else trying.fault(name, run, device, x, y)
    if wrong is None:
        return run
    warnings.warn(
        f"PyTorch's own operations are used instead, somewhat slower: a loop does not compute what "
        f"it should on {device} in {x}: {wrong}",
        stacklevel=2,
    )
    return None


def _of_device(
    name: str, device: torch.device, x: torch.dtype, y: torch.dtype
) -> Callable[..., None] | None:
    if device.type == "cpu":
        return in_c.loop(name, x, y)
    if device.type == "cuda":
        from brulee.models.kernels import on_gpu

        return on_gpu.loop(name, device, x, y)
    return None
