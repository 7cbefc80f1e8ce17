"""Turn every failure that a user can fix into one line on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from brulee.errors import BruleeError
from brulee.printable import printable, without_passwords

BAD_INPUT: Final = 2
_FULL = {errno.ENOSPC, errno.EDQUOT}
# ENOTDIR: also the cache of users whose home is /dev/null.
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}
_SHOWN = 80  # characters of a name that is too long


@contextmanager
def sentences() -> Iterator[None]:
    """Run a command; bad input, disk errors and closed pipes exit without a traceback.

    Everything else is a bug in brulee and keeps its traceback.
    """
    try:
        yield
        sys.stdout.flush()
    except BruleeError as error:
        _leave(f"error: {error}", error.exit_code)
    except KeyboardInterrupt:
        _leave("interrupted", BAD_INPUT)
    except BrokenPipeError:
        # stdout is a closed pipe; without this, the interpreter's flush at exit fails.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in _FULL | _FORBIDDEN | {errno.ENAMETOOLONG, errno.EFBIG}:
            raise
        _leave(f"error: {_disk_sentence(error)}", BAD_INPUT)


def _disk_sentence(error: OSError) -> str:
    reason = (error.strerror or "refused").lower()
    path = error.filename2 or error.filename
    if error.errno == errno.ENAMETOOLONG:
        name = str(path)
        shown = name if len(name) <= _SHOWN else f"{name[: _SHOWN - 3]}..."
        return f"{shown}: {reason}; use a shorter one."
    unnamed = "a file could not be opened: " if error.errno in _FORBIDDEN else ""
    place = f"{path}: " if path else unnamed
    return (
        f"{place}{reason}; {_advice(error.errno)}: --folder for a run, BRULEE_CACHE for the "
        "bundled model."
    )


def _advice(number: int | None) -> str:
    if number in _FULL:
        return "free some, or name a folder on another disk"
    if number == errno.EFBIG:  # by a limit of the shell's, or of a disk like FAT's
        return "name a folder where files may be larger"
    return "choose a place that you may write"


def _leave(message: str, code: int) -> NoReturn:
    # Not rich: it would take brackets for markup and break long paths.
    print(printable(without_passwords(message)), file=sys.stderr, flush=True)
    raise SystemExit(code)
