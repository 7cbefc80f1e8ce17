"""Where a recipe was read from: its file, the line of each key, its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from brulee.yaml_lines import KeyPath


class Source:
    """The file a recipe came from, the line of each key, and the folder relative paths may use."""

    def __init__(self, label: str, lines: Mapping[KeyPath, int], folder: Path | None) -> None:
        self.label, self.lines, self.folder = label, dict(lines), folder
        # Path -> as it was typed.
        self.overridden: dict[KeyPath, str] = {}

    def at(self, path: KeyPath) -> str:
        """`file, line N`, for the deepest part of the path that stands in the file."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.overridden:
                return f"--set {self.overridden[path[:end]]}"
            if path[:end] in self.lines:
                return f"{self.label}, line {self.lines[path[:end]]}"
        # An unknown section stands nowhere by itself: only keys under it were typed.
        under = (
            typed for long, typed in self.overridden.items() if path and long[: len(path)] == path
        )
        return next((f"--set {typed}" for typed in under), self.label)

    def data_is_list(self) -> None:
        """Know the keys under a list of tasks by the longer path of the section it is short for."""
        self.lines |= {_long(path): line for path, line in self.lines.items()}
        self.overridden |= {_long(path): typed for path, typed in self.overridden.items()}

    def resolve(self, path: str) -> Path:
        """A path relative to the working directory, else to the recipe's folder."""
        here = Path(path).expanduser()
        if here.exists() or here.is_absolute() or self.folder is None:
            return here
        beside = self.folder / here
        return beside if beside.exists() else here


def _long(path: KeyPath) -> KeyPath:
    listed = len(path) > 1 and path[0] == "data" and isinstance(path[1], int)
    return ("data", "tasks", *path[1:]) if listed else path
