"""Sources of a scenario's instances: a folder of official files, or the Hub's copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brulee.errors import InputError
from brulee.evaluation.suites.helm.instance import Instances
from brulee.evaluation.suites.rows import Row, read_hub

Split = Callable[[str], list[Row]]


@dataclass(frozen=True)
class Source:
    """Reads a scenario's instances from files or from the Hub.

    `folders` are the possible names of its folder inside the data folder. `files` reads a part (a
    subject, a subset; "" if a scenario has none) from that folder. `rows` does the same from the
    Hub's rows of a split; `hub` is the data set's id, in which `{part}` stands for the part; both
    are None if the Hub has no copy suitable for HELM's protocol. `part_file` is a file that only
    some parts may have, with `{part}` standing for the part.
    """

    folders: tuple[str, ...]
    files: Callable[[Path, str], Instances]
    hub: str | None = None
    rows: Callable[[Split, str], Instances] | None = None
    part_file: str = ""

    def folder(self, data: Path) -> Path | None:
        """The scenario's folder in `data`, or None."""
        return next((data / name for name in self.folders if (data / name).is_dir()), None)

    def holds(self, data: Path | None, part: str) -> bool:
        """Whether the part's files exist; always true if no parts may be missing."""
        if data is None or not self.part_file:
            return True
        folder = self.folder(data)
        return folder is not None and (folder / self.part_file.format(part=part)).is_file()

    def open(self, data: Path | None, part: str) -> Instances:
        """A part's instances. Raises InputError for missing or malformed data."""
        if data is not None:
            folder = self.folder(data)
            if folder is None:
                raise InputError(f"{data}: no folder {' or '.join(self.folders)}.")
            return self.files(folder, part)
        if self.hub is None or self.rows is None:
            raise InputError(f"{self.folders[0]} is not on the Hub; --data must name its folder.")
        name = self.hub.format(part=part)
        return self.rows(lambda split: read_hub(name, split), part)


def find_file(folder: Path, *names: str) -> Path:
    """The first of these files that exists. Raises InputError naming them if none does."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder}: no file {' or '.join(names)}.")


@contextmanager
def reading_text(file: Path) -> Iterator[None]:
    """Raise InputError if a file whose lines are read in this block is not UTF-8."""
    try:
        yield
    except UnicodeDecodeError:
        raise InputError(f"{file}: it is not UTF-8 text.") from None


def texts(row: Row, *names: str) -> list[str]:
    """A list of texts in a row. Raises InputError for anything else."""
    value = row.get(*names)
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise InputError(f"{row.place}: {names[0]!r} must be a list of texts, not {value!r}.")
    return value


def inside(row: Row, *path: str | int) -> Any:
    """The value at a path of keys and indices in a nested row. Raises InputError if missing."""
    value: Any = row.values
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            dotted = ".".join(map(str, path))
            raise InputError(f"{row.place}: there is no {dotted!r}.") from None
    return value


def count(row: Row, *path: str | int) -> range:
    """The indices of a list in a nested row. Raises InputError if it is not a list."""
    value = inside(row, *path)
    if not isinstance(value, list):
        raise InputError(f"{row.place}: {'.'.join(map(str, path))} must be a list, not {value!r}.")
    return range(len(value))


def position(row: Row, index: Any, options: int) -> int:
    """The index of the correct option, from 0. Raises InputError for an invalid one."""
    number = int(index) if isinstance(index, int) or str(index).isdecimal() else -1
    if not 0 <= number < options:
        raise InputError(
            f"{row.place}: the answer is {index!r}; it must be from 0 to {options - 1}."
        )
    return number
