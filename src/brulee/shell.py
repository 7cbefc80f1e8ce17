"""Names in commands that messages suggest, written so that they can be pasted into a shell."""

from __future__ import annotations

import shlex
from pathlib import Path


def word(name: str | Path) -> str:
    """A file's or folder's name as a word of a command: quoted if need be, and never an option."""
    return shlex.quote(no_option(name))


def no_option(name: str | Path) -> str:
    """A name with `./` before a leading dash, which `Path` removes from what was typed."""
    text = str(name)
    return f"./{text}" if text.startswith("-") else text
