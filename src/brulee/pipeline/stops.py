"""Messages for a run that stops before its end, with the command that continues it."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from brulee.errors import AskedToStopError
from brulee.pipeline.folder import RunFolder
from brulee.training.signals import handling_signals

AGAIN = 2.0  # seconds until an interrupt that was swallowed is raised again
_DISK: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def interruptible(where: RunFolder) -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM, a full or unwritable disk into a message with the resume command.

    Before the run has begun, there is nothing to resume, and the error is passed on. The training
    loop handles signals itself.
    """
    try:
        with interrupts():
            yield
    except KeyboardInterrupt:
        if not where.begun:
            raise
        raise AskedToStopError(
            f"interrupted; finished work is kept. Continue with: {where.resume_line}"
        ) from None
    except OSError as error:
        if error.errno not in _DISK or not where.begun:
            raise
        reason = (error.strerror or "refused").lower()
        raise AskedToStopError(
            f"{error.filename2 or error.filename or where.path}: {reason}; finished work is kept. "
            f"Once this is fixed, continue with: {where.resume_line}"
        ) from None


@contextmanager
def interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C and SIGTERM inside this block, again if it is swallowed."""
    alarm = _Alarm()
    with handling_signals(alarm.interrupt, signal.SIGINT, signal.SIGTERM):
        try:
            yield
        finally:
            alarm.give_back()


class _Alarm:
    """Repeats an interrupt after a while; SIGALRM stays the caller's until it is needed."""

    def __init__(self) -> None:
        self._before: tuple[Any, float, float] | None = None  # the caller's handler and timer

    def interrupt(self, _number: int, _frame: FrameType | None) -> None:
        # C code that looks up an attribute may take any exception for its absence, so the
        # interrupt is repeated.
        if self._before is None:
            handler = signal.signal(signal.SIGALRM, self.interrupt)
            self._before = (handler, *signal.getitimer(signal.ITIMER_REAL))
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
        raise KeyboardInterrupt

    def give_back(self) -> None:
        if self._before is None:
            return
        handler, delay, interval = self._before
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, delay, interval)
