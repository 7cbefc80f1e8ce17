"""Importing PyTorch and what is built on it, which takes seconds."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from brulee import progress


@contextmanager
def loading_pytorch() -> Iterator[None]:
    """Say on a terminal that it is loaded, and look for no garbage meanwhile.

    Hundreds of thousands of objects are made that stay; looking through them again and again takes
    a tenth of the time.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with progress.waiting("Loading PyTorch"):
            yield
    finally:
        if collecting:
            gc.enable()
