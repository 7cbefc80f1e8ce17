"""The origin of a run's numbers: the command, the packages, the machine."""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from typing import Any

import psutil

from brulee.printable import without_passwords

_PACKAGES = ("brulee", "torch", "transformers", "tokenizers", "datasets", "numpy", "sacrebleu")


def origin(command: str) -> dict[str, Any]:
    """How and where a run was started, for its manifest."""
    return {
        "command": command,
        "arguments": [without_passwords(argument) for argument in sys.argv[1:]],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "machine": machine(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect numbers."""
    found = {name: version for name in _PACKAGES if (version := _version(name))}
    return {"python": platform.python_version(), **found}


@cache
def _version(name: str) -> str | None:
    """Looked up by name: listing all installed packages takes a tenth of a second.

    Once in a process, which keeps the packages that it has imported.
    """
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _instructions() -> str:
    """The widest vector and matrix instructions that PyTorch finds, which determine CPU speed."""
    import torch

    amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return torch.backends.cpu.get_cpu_capability() + (" AMX" if amx() else "")


def machine() -> dict[str, str | int | float]:
    """The kind of machine, without anything that identifies it."""
    import torch

    found: dict[str, str | int | float] = {
        "system": platform.system(),
        "processor": platform.machine(),
        "instructions": _instructions(),
        "cores": psutil.cpu_count(logical=True) or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found
