"""Folders moved aside: what an earlier run or sweep left is kept under another name."""

from __future__ import annotations

from pathlib import Path

from brulee.errors import InputError


def with_a_name(folder: Path) -> Path:
    """The folder, absolute if its path ends in no name ("." or "..")."""
    return folder if folder.name not in ("", "..") else folder.resolve()


def check_not_inside(folder: Path) -> None:
    """Raise InputError if this process works in the folder: relative paths would move with it."""
    if Path.cwd().is_relative_to(folder.resolve()):
        raise InputError(
            f"{folder}: --fresh would move the working directory aside with this folder; start "
            "from another directory, or name a new folder: --folder NEW."
        )


def move_aside(folder: Path) -> Path:
    """Rename a folder to NAME.1, NAME.2 ..., the first that is free; returns the new path."""
    number = 1
    while (target := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    return folder.rename(target)
