"""Signal handlers replaced for a block of work, then restored."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def handling_signals(
    handle: Callable[[int, FrameType | None], None], *signals: int
) -> Iterator[None]:
    """Let `handle` handle the signals inside this block.

    Outside the main thread Python delivers no signals, and nothing changes. Handlers that were not
    set from Python are also left alone, as they could not be restored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [number for number in signals if signal.getsignal(number) is not None]
    before = {number: signal.signal(number, handle) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
