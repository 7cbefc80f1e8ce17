"""Memory that this process may still use: the machine's, or less in a container with a limit.

A process in a container sees the whole machine's memory, and is killed when it exceeds the limit of
its control group. Both versions of control groups are supported (kernel.org, "Control Group v2" and
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
    """A control group version's file names for limit and usage, and its key for droppable cache."""

    bound: str
    used: str
    cache: str


_V1 = _Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Names("memory.max", "memory.current", "inactive_file")


def free_bytes() -> int:
    """Bytes that can be allocated before a process is killed for lack of memory."""
    return min([int(psutil.virtual_memory().available), *_left_in_groups(_OWN, _MOUNTED)])


def _left_in_groups(own: Path, mounted: Path) -> list[int]:
    """Bytes left in each of this process's groups, and their parents, that has a limit."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    found = (_left(folder, names) for line in lines for folder, names in _groups(line, mounted))
    return [left for left in found if left is not None]


def _groups(line: str, mounted: Path) -> Iterator[tuple[Path, _Names]]:
    """The folders for a line of /proc/self/cgroup, from the group outwards."""
    number, controllers, path = line.split(":", 2)
    if number == "0":
        root, names = mounted, _V2
    elif "memory" in controllers.split(","):
        root, names = mounted / "memory", _V1
    else:
        return
    # In a container the path may be the host's, of which only the root is visible.
    folder = root / path.lstrip("/")
    for group in (folder, *folder.parents):
        if group.is_relative_to(root):
            yield group, names


def _left(group: Path, names: _Names) -> int | None:
    """Bytes that the group may still use; None if it has no limit."""
    try:
        bound, used = (group / names.bound).read_text(), (group / names.used).read_text()
        held = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # Without a limit, version 2 says "max", version 1 a number larger than any machine's
        # memory.
        return max(0, int(bound) - int(used) + int(held.get(names.cache, 0)))
    except (OSError, ValueError):
        return None
