"""Import PyTorch and the libraries built on it, which takes seconds."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from brulee import progress


@contextmanager
def loading_pytorch() -> Iterator[None]:
    """Show on a terminal that PyTorch is loading, with garbage collection off meanwhile.

    The imports create hundreds of thousands of long-lived objects; scanning them repeatedly takes a
    tenth of the time.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with progress.waiting("Loading PyTorch"):
            yield
    finally:
        if collecting:
            gc.enable()
