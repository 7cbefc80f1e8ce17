"""Memory that this process may still take: the machine's, or less in a container that has a bound.

A container's processes see the memory of the whole machine, and are killed when they take more than
control groups allow them. Both versions of these are read (kernel.org, "Control Group v2" and
"Memory Resource Controller").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_OWN = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class _Names:
    """What a version of control groups calls the bound, what is used, and what can be dropped."""

    bound: str
    used: str
    cache: str


_V1 = _Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Names("memory.max", "memory.current", "inactive_file")


def free_bytes() -> int:
    """Bytes that can be taken without another process, or this one, being killed for it."""
    return min([int(psutil.virtual_memory().available), *_left_in_groups(_OWN, _MOUNTED)])


def _left_in_groups(own: Path, mounted: Path) -> list[int]:
    """What is left in this process's groups, and in those around them, that have a bound."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    found = (_left(folder, names) for line in lines for folder, names in _groups(line, mounted))
    return [left for left in found if left is not None]


def _groups(line: str, mounted: Path) -> Iterator[tuple[Path, _Names]]:
    """The folders that a line of /proc/self/cgroup names, from the group outwards."""
    number, controllers, path = line.split(":", 2)
    if number == "0":
        root, names = mounted, _V2
    elif "memory" in controllers.split(","):
        root, names = mounted / "memory", _V1
    else:
        return
    # In a container the path may be the one outside, of which only the root is to be seen.
    folder = root / path.lstrip("/")
    for group in (folder, *folder.parents):
        if group.is_relative_to(root):
            yield group, names


def _left(group: Path, names: _Names) -> int | None:
    """Bytes that the group may still take; None where it has no bound."""
    try:
        bound, used = (group / names.bound).read_text(), (group / names.used).read_text()
        held = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # Version 2 says "max" of none, and version 1 a number beyond any machine's.
        return max(0, int(bound) - int(used) + int(held.get(names.cache, 0)))
    except (OSError, ValueError):
        return None
