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

_DISK: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


@contextmanager
def interruptible(where: RunFolder) -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM, a full disk or a forbidden one into the line that goes on.

    Before the run has begun there is nothing to go on with, and the error passes as it is. The
    training loop answers signals itself.
    """
    try:
        with taken(_interrupt, signal.SIGTERM):
            yield
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
    raise KeyboardInterrupt
