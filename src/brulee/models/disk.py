"""Check that files can be written, and report the operating system's errors if not."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from brulee.errors import InputError


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raise OSError for `path` if safetensors could not write inside this block.

    Its Rust code reports a full or read-only disk as text; the error number is taken from that.
    """
    try:
        yield
    except SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        code = int(found.group(1))
        raise OSError(code, os.strerror(code), str(path)) from None


def as_umask_says(folder: Path) -> None:
    """Give the weights in a folder the permissions of any new file there.

    safetensors creates its files readable by the owner only, whatever the umask.
    """
    weights = list(folder.glob("*.safetensors"))
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        new = Path(aside, "new")
        new.touch()
        mode = stat.S_IMODE(new.stat().st_mode)
    for file in weights:
        if stat.S_IMODE(file.stat().st_mode) != mode:
            # Some file systems have no permissions; the default is good enough there.
            with suppress(PermissionError):
                file.chmod(mode)


def check_new_folder(out: Path, what: str) -> None:
    """Raise InputError for a folder that is not empty, OSError for one that cannot be written.

    Also raises what `nearest_folder` and `try_writing` raise.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists already and is not an empty folder.")
    try_writing(nearest_folder(out, what))


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder that is renamed to `out`, absent or empty, when the block succeeds.

    If the block fails, the folder is deleted.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        if out.exists():
            out.rmdir()
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def nearest_folder(path: Path, what: str) -> Path:
    """The folder itself, or its nearest ancestor that exists.

    Raises InputError if `what`, or a folder above it, would take the place of a file.
    """
    for folder in (path, *path.absolute().parents):
        if folder.is_dir():
            return folder
        if folder.exists():
            raise InputError(f"{folder}: a file, where {what} should be; name another.")
    return Path()


def try_writing(folder: Path) -> None:
    """Find out now, before the model is loaded, whether files can be written to a folder.

    Raises OSError with the folder's name; InputError for a folder that takes no files, like /proc.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileNotFoundError:
        raise InputError(f"{folder}: no file can be made here; name another folder.") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None
