"""Keep freed memory in the process, where the C library allows it.

glibc returns large blocks to the system at once, and the kernel zeroes every page when they are
allocated again. A training step frees and allocates the same activations over and over; on a CPU,
that costs about 9% of the step (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import functools
import platform

# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER = 2**31 - 1


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
