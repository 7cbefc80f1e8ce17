"""Where a command is to write, looked at before anything slow begins."""

from __future__ import annotations

from pathlib import Path

from brulee.errors import InputError


def check_file(path: Path, option: str) -> None:
    """Raise InputError where a file of that name cannot be: a folder is, or a file above it."""
    if path.is_dir():
        raise InputError(f"{option} {path}: a folder, where the file should be; name a file in it.")
    check_folder(path.parent, option)


def check_folder(path: Path, option: str) -> None:
    """Raise InputError where a folder of that name cannot be, as it or one above it is a file."""
    found = next((one for one in (path, *path.parents) if one.exists()), None)
    if found is not None and not found.is_dir():
        raise InputError(f"{option} {path}: {found} is a file, where a folder is needed.")
