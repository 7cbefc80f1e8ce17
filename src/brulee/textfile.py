"""A text file in UTF-8, read and written as a whole."""

from __future__ import annotations

from pathlib import Path

from brulee.errors import InputError


def read_text(file: Path, label: str = "") -> str:
    """The text of a file, without a byte-order mark.

    Raises InputError, naming `label` or else the file, for a byte that is not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{label or file}: byte {error.start} is not UTF-8 text.") from None


def write_text(file: Path, text: str) -> None:
    """Write a file atomically, by a rename: whoever reads it finds the old text or the new."""
    aside = file.with_name(f".{file.name}.tmp")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(file)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
