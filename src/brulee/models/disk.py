"""The operating system's errors while weights are written, under their own type."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raise OSError, naming `path`, where safetensors could not write.

    Its Rust side reports a full or read-only disk as text; the number in it is given back.
    """
    try:
        yield
    except SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        code = int(found.group(1))
        raise OSError(code, os.strerror(code), str(path)) from None
