"""Where a recipe was read from: its file, the line of each key, its folder."""

from __future__ import annotations

import contextlib
import copy
import glob
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

from brulee.errors import InputError
from brulee.recipe import given_rows
from brulee.yaml_lines import KeyPath

# A key of one of a recipe's sections, "method NAME:", or "model 'NAME':".
_KEY = re.compile(
    r"(?P<key>(?:data|evaluate|method|model|train)(?:\.[a-z]\w*)+)\b"
    r"|(?P<section>method|model) (?:\w+|'[^']*'): ",
    re.ASCII,
)


class Source:
    """The file a recipe came from, the line of each key, and the folder relative paths may use.

    `rows` is the folder of the rows passed from Python, if any.
    """

    def __init__(
        self,
        label: str,
        lines: Mapping[KeyPath, int],
        folder: Path | None,
        rows: Path | None = None,
    ) -> None:
        self.label, self.lines, self.folder, self.rows = label, dict(lines), folder, rows
        # Key path -> the key as typed.
        self.overridden: dict[KeyPath, str] = {}
        self._of: Source | None = None

    def again(self) -> Source:
        """A copy for another recipe from the same place, with its own overrides."""
        found = copy.copy(self)
        found.overridden = dict(self.overridden)
        found._of = self  # its rows are deleted when it is
        return found

    def at(self, path: KeyPath) -> str:
        """`file, line N`, for the deepest part of the path that is in the file."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.overridden:
                return f"--set {self.overridden[path[:end]]}"
            if path[:end] in self.lines:
                return f"{self.label}, line {self.lines[path[:end]]}"
        # An unknown section has no entry itself: only keys under it were typed.
        under = (
            typed for long, typed in self.overridden.items() if path and long[: len(path)] == path
        )
        return next((f"--set {typed}" for typed in under), self.label)

    @contextlib.contextmanager
    def placing(self) -> Iterator[None]:
        """Prefix an InputError that begins with one of the recipe's keys with that key's place.

        For code that sees values but not places: "method.width and ...", "method ia3: ...".
        """
        try:
            yield
        except InputError as error:
            if (found := _KEY.match(str(error))) is None:
                raise
            path = tuple((found["key"] or f"{found['section']}.name").split("."))
            raise InputError(f"{self.at(path)}: {error}") from None

    def override(self, path: KeyPath, typed: str) -> None:
        """Record that a key and all keys under it come from the command line, not the file."""
        self.lines = {
            key: line for key, line in self.lines.items() if key[: len(path)] != path or key == path
        }
        self.overridden[path] = typed

    def data_is_list(self) -> None:
        """Record the keys under a list of tasks by their longer paths, under `data.tasks`, too."""
        self.lines |= {_long(path): line for path, line in self.lines.items()}
        self.overridden |= {_long(path): typed for path, typed in self.overridden.items()}

    def hold_rows(self) -> Path:
        """A folder for rows, deleted with this object or when the process ends."""
        if self.rows is None:
            self.rows = Path(tempfile.mkdtemp(prefix="brulee-rows-"))
            weakref.finalize(self, _remove, self.rows, os.getpid())
        return self.rows

    def resolve(self, path: str) -> Path:
        """A path, or a pattern, relative to the working directory, else to the recipe's folder.

        Of what is in neither, the place whose folder there is, where the nearest name may be.
        """
        if path.startswith(given_rows.PREFIX) and self.rows is not None:
            return given_rows.stored(self.rows, path)
        here = Path(path).expanduser()
        if here.is_absolute() or self.folder is None or _is_there(here, Path()):
            return here
        beside = self.folder / here
        near = beside.parent.is_dir() and not here.parent.is_dir()
        return beside if near or _is_there(here, self.folder) else here


def is_pattern(path: str) -> bool:
    """Whether a path has wildcards: data/*.jsonl."""
    return glob.escape(path) != path


def matching(pattern: str, folder: Path) -> list[str]:
    """What a pattern matches in a folder, relative to it, in the order of names.

    `**` matches folders at any depth; hidden files are left out, as in a shell.
    """
    # Unlike `Path.glob`, this leaves out hidden files and takes absolute patterns.
    return sorted(glob.glob(pattern, root_dir=folder, recursive=True))  # noqa: PTH207


def _is_there(path: Path, folder: Path) -> bool:
    if (folder / path).exists() or not is_pattern(str(path)):
        return (folder / path).exists()
    return bool(matching(str(path), folder))


def _remove(folder: Path, owner: int) -> None:
    # A forked process must not delete at its end what its parent still reads.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _long(path: KeyPath) -> KeyPath:
    listed = len(path) > 1 and path[0] == "data" and isinstance(path[1], int)
    return ("data", "tasks", *path[1:]) if listed else path
