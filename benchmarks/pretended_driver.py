"""A stub CUDA driver that reports a GPU, for code that should only appear to run on one.

It answers what PyTorch's CUDA build queries before it creates a tensor on a GPU; it cannot compute.
Two scripts use it: pretend_gpu.py, whose tensors have no values, and pretend_tests.py, whose
tensors are computed on the CPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final

STAGE: Final = "BRULEE_PRETENDED_DRIVER"
_DRIVER: Final = """
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
    *flags = 0;
    *active = 0;
    return 0;
}
"""
# PyTorch queries the number of GPUs twice. First none, so that its fake guard replaces CUDA's; then
# some, or autograd would not run on the GPU.
_COUNT: Final = """
#include <cstdint>
static int count = 0;
extern "C" void pretend_devices(int n) { count = n; }
namespace c10 { namespace cuda {
int8_t device_count() noexcept { return (int8_t)count; }
int8_t device_count_ensure_non_zero() { return (int8_t)count; }
} }
"""


def with_driver(script: str, arguments: Sequence[str]) -> int:
    """Run the script again in an environment with the stub driver; returns its exit code."""
    with tempfile.TemporaryDirectory() as scratch:
        for code, name, compiler in (
            (_DRIVER, "libcuda.so.1", "gcc -x c"),
            (_COUNT, "count.so", "g++ -x c++"),
        ):
            command = [*compiler.split(), "-shared", "-fPIC", "-o", f"{scratch}/{name}", "-"]
            subprocess.run(command, input=code, text=True, check=True)
        count = f"{scratch}/count.so"
        added = {"LD_LIBRARY_PATH": scratch, "LD_PRELOAD": count, STAGE: count}
        return subprocess.run(
            [sys.executable, script, *arguments], env={**os.environ, **added}, check=False
        ).returncode


def show_devices() -> None:
    """Make the GPU visible to autograd."""
    import torch

    torch._C._ensureCUDADeviceGuardSet()
    ctypes.CDLL(os.environ[STAGE]).pretend_devices(100)


def allocated(current: int, peak: int) -> dict[str, Any]:
    """The allocator's statistics, of bytes that are allocated."""
    return {"allocated_bytes": {"all": {"current": current, "peak": peak}}}


def say_there_is_one(**more: Any) -> None:
    """Patch `torch.cuda` to report one GPU of 80 GiB, without calls that need a real one."""
    import torch

    here = SimpleNamespace(
        name="pretended", total_memory=80 << 30, multi_processor_count=132, major=9, minor=0
    )
    told: dict[str, Any] = {
        "is_available": True, "device_count": 1, "current_device": 0, "_lazy_init": None,
        "get_device_capability": (9, 0), "get_device_properties": here, "synchronize": None,
        "get_device_name": "pretended", "mem_get_info": (70 << 30, 80 << 30),
        "memory_stats_as_nested_dict": allocated(0, 0), "memory_reserved": 0,
        "reset_peak_memory_stats": None, "is_bf16_supported": True, "manual_seed_all": None,
        "is_current_stream_capturing": False, "empty_cache": None, "set_rng_state": None,
        "get_rng_state": torch.zeros(16, dtype=torch.uint8), **more,
    }  # fmt: skip
    for name, value in told.items():
        setattr(torch.cuda, name, lambda *_, _value=value, **__: _value)
    clipping: Any = torch.nn.utils.clip_grad
    setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())  # noqa: B010 (mypy: a class)
    # It checks tensor types, which pretended tensors fail: they would be clipped one by one.
    clipping._has_foreach_support = lambda *_: True
