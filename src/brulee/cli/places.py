"""Check where a command will write before any slow work begins."""

from __future__ import annotations

from pathlib import Path

from brulee.errors import InputError


def check_file(path: Path, option: str) -> None:
    """Raise InputError if `path` is a folder or lies below a file, so that it cannot be written."""
    if path.is_dir():
        raise InputError(f"{option} {path}: a folder, where the file should be; name a file in it.")
    check_folder(path.parent, option)


def check_folder(path: Path, option: str) -> None:
    """Raise InputError if `path` or one of its parents is a file, so that it cannot be a folder."""
    found = next((one for one in (path, *path.parents) if one.exists()), None)
    if found is not None and not found.is_dir():
        raise InputError(f"{option} {path}: {found} is a file, where a folder is needed.")
