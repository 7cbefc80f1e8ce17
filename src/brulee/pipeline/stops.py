"""A run that has to stop before its end: what is said, and the line that goes on."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from brulee.errors import AskedToStopError
from brulee.pipeline.folder import RunFolder
from brulee.training.signals import taken

AGAIN = 2.0  # seconds until an interrupt that did not get through is raised again
_DISK: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def interruptible(where: RunFolder) -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM, a full disk or a forbidden one into the line that goes on.

    Before the run has begun there is nothing to go on with, and the error passes as it is. The
    training loop answers signals itself.
    """
    alarm = _Alarm()
    try:
        with taken(alarm.interrupt, signal.SIGINT, signal.SIGTERM):
            try:
                yield
            finally:
                alarm.give_back()
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


class _Alarm:
    """Interrupts once more after a while; the alarm is the caller's until there is need for it."""

    def __init__(self) -> None:
        self._before: tuple[Any, float, float] | None = None  # whose it was, and when it rings

    def interrupt(self, _number: int, _frame: FrameType | None) -> None:
        # Code in C that looks for an attribute may take any exception for its absence. Then once
        # more.
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
