"""List and clear brulee's cache.

folder                         content                             after it is cleared
models/SmolLM2-135M-Instruct   the bundled model, unpacked         unpacked again when needed
models/given/*                 models passed from Python           runs on them lose their base
evaluations/*                  models' replies to suites           computed again
kernels/*                      compiled C kernels                  compiled again when needed
"""

from __future__ import annotations

import shutil
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brulee.errors import unknown
from brulee.models.bundled import NAME, cache_folder

_DAY: Final = 86_400  # seconds


@dataclass(frozen=True)
class Kind:
    """A part of the cache: its folder, what it contains, and what clearing it costs.

    Its entries are the files and folders inside; with `one`, the folder itself is the only entry.
    """

    folder: str
    what: str
    cost: str
    one: bool = False


KINDS: Final[dict[str, Kind]] = {
    "bundled": Kind(
        f"models/{NAME}",
        "the bundled model, unpacked",
        "half a minute when it is needed again",
        one=True,
    ),
    "given": Kind(
        "models/given",
        "models passed from Python",
        "runs on them lose their base",
    ),
    "evaluations": Kind("evaluations", "what models replied to suites", "they are asked again"),
    "kernels": Kind("kernels", "loops in C, compiled", "some seconds when they are needed again"),
}


@dataclass(frozen=True)
class Entry:
    """An entry of the cache; `size` in bytes, `age` in seconds since it was last written."""

    path: Path
    size: int
    age: float


def entries_of(kind: str) -> list[Entry]:
    """The entries of a kind, sorted by name. Raises InputError for an unknown kind."""
    if kind not in KINDS:
        raise unknown("part of the cache", kind, KINDS)
    return [_measured(path) for path in _entries(KINDS[kind])]


def clear(kind: str, older_than: float = 0.0) -> list[Entry]:
    """Delete the entries of a kind last written at least that many days ago, and return them.

    Raises InputError for an unknown kind, and OSError for what cannot be deleted.
    """
    old = [one for one in entries_of(kind) if one.age >= older_than * _DAY]
    for one in old:
        if one.path.is_dir() and not one.path.is_symlink():
            shutil.rmtree(one.path)
        else:
            one.path.unlink()
    return old


def _entries(kind: Kind) -> list[Path]:
    folder = cache_folder() / kind.folder
    if not folder.is_dir():
        return []
    # A name with a leading dot is being written, or is a lock that another process may hold.
    found = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return [folder] if kind.one else sorted(found)


def _measured(path: Path) -> Entry:
    stats = [found.lstat() for found in (path, *path.rglob("*"))]
    size = sum(one.st_size for one in stats if not stat.S_ISDIR(one.st_mode))
    return Entry(path, size, max(0.0, time.time() - max(one.st_mtime for one in stats)))
