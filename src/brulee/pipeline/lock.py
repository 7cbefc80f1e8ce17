"""Locks on files and folders: other processes wait, or are refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from brulee.errors import InputError
from brulee.models.bundled import cache_folder


@contextmanager
def file_lock(file: Path, waits: Callable[[], None]) -> Iterator[None]:
    """Hold an exclusive lock for a file; if another process has it, call `waits` and wait.

    The lock is a hidden file next to it, released when the process ends in any way.
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
def run_lock(run: Path) -> Iterator[None]:
    """Hold an exclusive lock for a run's folder, which need not exist yet.

    The lock is a file in the cache, named by the folder's path and deleted afterwards. A second
    lock serialises creating and deleting it, so that no two processes hold files of the same name.
    Raises InputError if another process of this machine is working on the run.
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
