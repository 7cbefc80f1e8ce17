"""Whether something can be written, and the operating system's errors where it cannot."""

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
    """Raise OSError, naming `path`, where safetensors could not write.

    Its Rust side reports a full or read-only disk as text; the number in it is given back.
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
    """Give the weights of a folder the mode of any new file there.

    safetensors makes its files for their owner alone, whatever the umask.
    """
    weights = list(folder.glob("*.safetensors"))
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        new = Path(aside, "new")
        new.touch()
        mode = stat.S_IMODE(new.stat().st_mode)
    for file in weights:
        if stat.S_IMODE(file.stat().st_mode) != mode:
            # Some disks know no modes; what their owner can read is good enough there.
            with suppress(PermissionError):
                file.chmod(mode)


def check_new_folder(out: Path, what: str) -> None:
    """Refuse a folder that holds something, or where nothing can be written.

    Raises InputError and OSError as `nearest_folder` and `try_writing` do.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists already and is not an empty folder.")
    try_writing(nearest_folder(out, what))


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `out`, absent or empty, when the block ends well.

    Half of what is written is never left behind.
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
    """The folder itself, or the nearest one above it that exists.

    Raises InputError for a file where `what` or a folder above it should be.
    """
    for folder in (path, *path.absolute().parents):
        if folder.is_dir():
            return folder
        if folder.exists():
            raise InputError(f"{folder}: a file, where {what} should be; name another.")
    return Path()


def try_writing(folder: Path) -> None:
    """Find out now, not after the model is loaded, that nothing can be written.

    Raises OSError naming the folder; InputError for one that holds no files, such as /proc.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileNotFoundError:
        raise InputError(f"{folder}: no file can be made here; name another folder.") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None
