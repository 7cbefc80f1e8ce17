"""Peak memory of a block of work, on the CPU and on CUDA."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import psutil
import torch

_RESET = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def reset_peak(device: torch.device) -> None:
    """Start a new measurement."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _RESET.exists():
        # Linux: "5" resets the peak resident size to the current one.
        _RESET.write_text("5")


def peak_bytes(device: torch.device) -> int:
    """Peak memory since `reset_peak`.

    CUDA: bytes allocated on the device. CPU: resident bytes of the process; outside Linux the peak
    cannot be reset, and the process's overall peak is returned.
    """
    if device.type == "cuda":
        return _allocated(device, "peak")
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def current_bytes(device: torch.device) -> int:
    """Memory in use now: allocated on the device, or resident in the process."""
    if device.type == "cuda":
        return _allocated(device, "current")
    return int(psutil.Process().memory_info().rss)


def _allocated(device: torch.device, which: str) -> int:
    """The current or peak bytes allocated on a GPU.

    `torch.cuda.memory_allocated` sorts all statistics by name for that, 0.3 ms in every step.
    """
    found = torch.cuda.memory_stats_as_nested_dict(device)
    return int(found["allocated_bytes"]["all"][which])
