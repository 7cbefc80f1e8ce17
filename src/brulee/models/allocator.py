"""Memory of the process: freed blocks are kept where possible, and its end is recognised.

glibc returns large blocks to the system at once, and the kernel zeroes every page when they are
allocated again. A training step frees and allocates the same activations over and over; on a CPU,
that costs about 9% of the step (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import platform
import re
import sys

import torch

# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER = 2**31 - 1

# torch has an error type only for its CUDA allocator; cuBLAS, the CPU allocator, and oneDNN's
# matrix products raise a RuntimeError with these words.
_WORDS = re.compile(
    r"can't allocate memory|not enough memory|out of memory|could not create a primitive"
    r"|CUBLAS_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)


def is_exhaustion(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or in the process."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and _WORDS.search(str(error)) is not None


@functools.cache
def keep_freed_memory() -> bool:
    """Tell glibc to reuse large blocks instead of returning them; False on other C libraries."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, 1 << 30) and mallopt(_TRIM_THRESHOLD, _NEVER))


def give_back_freed_memory() -> None:
    """Return freed memory to the system, such as a file's copy after loading it."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def untouched(shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
    """Zeros on the CPU that take no memory until they are written to.

    A mapping of their own: torch would write to every page, and so does malloc to one used before.
    """
    size = shape.numel() * dtype.itemsize
    if not size:
        return torch.zeros(shape, dtype=dtype)
    if sys.platform == "win32":
        held = mmap.mmap(-1, size)
    else:
        held = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(held, dtype=torch.uint8).view(dtype).view(shape)
