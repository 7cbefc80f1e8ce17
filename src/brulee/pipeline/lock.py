"""Files and folders that one process writes at a time; others wait, or are refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from brulee.errors import InputError
from brulee.models.bundled import cache_folder


@contextmanager
def alone(file: Path, waits: Callable[[], None]) -> Iterator[None]:
    """Have a file to oneself; where another process has it, call `waits` and wait.

    The lock is a hidden file beside it, and is let go of when its process ends, however it ends.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file.with_name(f".{file.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waits()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def to_itself(run: Path) -> Iterator[None]:
    """Have a run's folder to oneself, whether it is there yet or not.

    The lock is a file of the cache, by the folder's path, which goes with it; one process at a time
    looks for such a file or takes one away, so that no two hold files of one name. Raises
    InputError where another process of this machine is at work on the run.
    """
    name = hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:32]
    locks = cache_folder() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    file, changing = locks / f"{name}.lock", FileLock(locks / ".changing.lock")
    lock = FileLock(file)
    try:
        with changing:
            lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{run}: another process is working on this run; wait for it, or name another folder."
        ) from None
    try:
        yield
    finally:
        with changing:
            lock.release()
            file.unlink(missing_ok=True)
