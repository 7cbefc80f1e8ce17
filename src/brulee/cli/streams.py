"""Standard input, output and errors that every command can use, whatever the shell gave it."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path


def open_streams() -> None:
    """Read a closed input as an empty one, and escape what the output's encoding does not have.

    A stream that was closed (`<&-`) is None in Python. A locale without UTF-8 makes an output that
    refuses most letters; they are written as a backslash and their number instead.
    """
    nowhere = Path(os.devnull)
    sys.stdin = sys.stdin or nowhere.open(encoding="utf-8")
    sys.stdout = sys.stdout or nowhere.open("w", encoding="utf-8")
    sys.stderr = sys.stderr or nowhere.open("w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() not in _ALL_LETTERS:
            stream.reconfigure(errors="backslashreplace")


_ALL_LETTERS = ("utf-8", "utf8")
