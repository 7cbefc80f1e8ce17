"""Keeping freed memory in the process, where the C library allows it.

glibc gives large blocks back to the system at once and asks for them again a moment later; every
page is then zeroed anew. A training step frees and takes the same activations over and over, and
on a CPU that costs about 9% of it (docs/performance.md).
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
    """Return to the system what was freed up to now, such as a file's copy after loading it."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
