"""Make standard input, output and error usable, whatever the shell set up."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path


def open_streams() -> None:
    """Read a closed input as empty, and escape characters that the output's encoding lacks.

    A closed stream (`<&-`) is None in Python. Without UTF-8 in the locale, the output refuses most
    letters; they are written as a backslash and their code point instead. The input is UTF-8
    then: Python would hide bytes that are not in characters that nothing can encode.
    """
    nowhere = Path(os.devnull)
    sys.stdin = sys.stdin or nowhere.open(encoding="utf-8")
    sys.stdout = sys.stdout or nowhere.open("w", encoding="utf-8")
    sys.stderr = sys.stderr or nowhere.open("w", encoding="utf-8")
    if isinstance(sys.stdin, io.TextIOWrapper) and sys.stdin.errors == "surrogateescape":
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() not in _ALL_LETTERS:
            stream.reconfigure(errors="backslashreplace")


_ALL_LETTERS = ("utf-8", "utf8")
