"""A file that one process writes at a time; others wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


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
