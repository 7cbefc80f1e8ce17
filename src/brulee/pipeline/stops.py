"""A run that has to stop before its end: what is said, and the line that goes on."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from brulee.errors import StoppedError
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
    try:
        with taken(_interrupt, signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            try:
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        if not where.begun:
            raise
        raise StoppedError(
            f"interrupted; what was finished is kept. Go on with: {where.resume_line}"
        ) from None
    except OSError as error:
        if error.errno not in _DISK or not where.begun:
            raise
        reason = (error.strerror or "refused").lower()
        raise StoppedError(
            f"{error.filename2 or error.filename or where.path}: {reason}; what was finished is "
            f"kept. When that is mended, go on with: {where.resume_line}"
        ) from None


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # Code in C that looks for an attribute may take any exception for its absence. Then once more.
    signal.setitimer(signal.ITIMER_REAL, AGAIN)
    raise KeyboardInterrupt
