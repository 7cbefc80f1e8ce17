"""The served adapters, by name and version.

    name "notes"    notes@1f3c...   still used by current requests
                    notes@9ab0...   what the name refers to now

A version never changes. When a name gets another version or is removed, the old version stays for
the requests that use it; after the last of them, its memory is freed.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from brulee.errors import InputError, nearest
from brulee.methods.shelf import locate_adapter
from brulee.serving.bounds import check_bounds, digest
from brulee.serving.failures import ApiError
from brulee.serving.limits import Limits
from brulee.serving.worker import DeadError, Worker

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_GIVING_WAY: Final = 5e-4  # seconds, a tenth of Python's default
_DIGITS: Final = 12  # of a digest, in the name of a version


@dataclass(eq=False)
class Version:
    """An adapter as it was when loaded; `key` is its name in the engine."""

    name: str
    key: str
    folder: Path
    created: int
    pins: int = 0
    current: bool = True
    free: threading.Event = field(default_factory=threading.Event)


class Store:
    """Names of a worker's adapters; thread-safe.

    `base` is the name of the base. Clients can load adapters from folders under `root`.
    """

    def __init__(self, worker: Worker, base: str, limits: Limits, root: Path | None = None) -> None:
        self.base, self.root = base, root
        self._worker, self._limits = worker, limits
        self._names: dict[str, Version] = {}
        self._turn = threading.Lock()
        self._changing = threading.Lock()  # one load at a time

    @property
    def versions(self) -> list[Version]:
        """The current version of every name, in the order in which they were added."""
        with self._turn:
            return list(self._names.values())

    @contextmanager
    def pinned(self, model: str) -> Iterator[Version | None]:
        """The version for a request's `model`, kept loaded in this block; None for the base.

        `model` is the name of the base or of an adapter, "base:adapter", or a current version's
        key. Raises ApiError (404) with the valid names.
        """
        with self._turn:
            version = self._named(model)
            if version is not None:
                version.pins += 1
        try:
            yield version
        finally:
            if version is not None:
                self._unpin(version)

    def add(self, name: str, folder: Path, created: int, replace: bool = False) -> Version:
        """Serve the adapter in `folder` under a name.

        Raises InputError for a name that is invalid or taken, for an adapter that is too large, and
        as `Adapters.add` does; nothing has changed then.
        """
        check_name(name, self.base)
        with self._changing:
            before = self._check_free(name, replace)
            check_bounds(folder, self._limits)
            key = f"{name}@{digest(folder)[:_DIGITS]}"
            if before is not None and before.key == key:
                return before
            self._check_draining(key)
            self._hold(key, folder)
            version = Version(name, key, folder, created)
            with self._turn:
                self._names[name] = version
        if before is not None:
            self._retire(before)
        return version

    def load(self, name: str, path: str, created: int, replace: bool = False) -> Version:
        """As `add`, for a client's path: plain names under the root.

        Raises ApiError for a path that leads out of the root or does not exist.
        """
        try:
            check_name(name, self.base)
        except InputError as error:
            raise ApiError(400, str(error), "lora_name") from None
        try:
            return self.add(name, self._under_root(path), created, replace)
        except InputError as error:
            told = str(error)
            for root in (self.root, self.root and self.root.resolve()):
                told = told.replace(f"{root}/", "")  # clients must not learn the root's location
            raise ApiError(400, told, "lora_path") from None

    def remove(self, name: str) -> None:
        """Stop serving a name: new requests are refused at once, current ones are completed.

        Returns once the memory is freed. Raises ApiError (404) for a name that is not served.
        """
        with self._turn:
            if name not in self._names:
                raise self._unknown(name, "lora_name")
            version = self._names.pop(name)
        self._retire(version)
        version.free.wait()

    def _hold(self, key: str, folder: Path) -> None:
        """Load an adapter: prepare it in this thread, and add it between two steps."""
        held, call = self._worker.held, self._worker.call
        with _giving_way():
            prepared = held.prepare(folder)
        put = (
            partial(held.add, key, folder) if prepared is None else partial(held.put, key, prepared)
        )
        call(put).result()

    def _retire(self, version: Version) -> None:
        with self._turn:
            # One that was removed while its next version was loaded has been let go.
            over = version.current and version.pins == 0
            version.current = False
        if over:
            self._let_go(version)

    def _unpin(self, version: Version) -> None:
        with self._turn:
            version.pins -= 1
            over = version.pins == 0 and not version.current
        if over:
            self._let_go(version)

    def _let_go(self, version: Version) -> None:
        """Free a version between two steps, without waiting for it."""
        try:
            done = self._worker.call(lambda: self._worker.held.remove(version.key))
        except DeadError:  # its memory is freed with the process
            version.free.set()
            return
        done.add_done_callback(lambda _: version.free.set())

    def _named(self, model: str) -> Version | None:
        if model == self.base:
            return None
        name = model.removeprefix(f"{self.base}:")
        for version in self._names.values():
            if name in (version.name, version.key):
                return version
        raise self._unknown(model, "model")

    def _unknown(self, model: str, param: str) -> ApiError:
        names = [*([self.base] if param == "model" else []), *self._names]
        close = nearest(model, names, 1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        there = f"Served: {', '.join(names)}." if names else "No adapter is served."
        return ApiError(404, f"no model {model!r}{hint} {there}", param, "model_not_found")

    def _check_free(self, name: str, replace: bool) -> Version | None:
        with self._turn:
            before, count = self._names.get(name), len(self._names)
        if before is not None and not replace:
            raise InputError(
                f"adapter {name!r} is already served; unload it, or set load_inplace: true."
            )
        if before is None and count >= self._limits.adapters:
            raise InputError(
                f"adapter {name!r} is one too many: {count} adapters are served, of at most "
                f"{self._limits.adapters} (--max-adapters)."
            )
        return before

    def _check_draining(self, key: str) -> None:
        if key in self._worker.held.names:
            raise InputError(
                f"adapter {key!r} was unloaded and still answers; try again when that is over."
            )

    def _under_root(self, path: str) -> Path:
        """The adapter's folder for a client's path.

        Raises ApiError for a path that is not made of plain names, or a file linked from elsewhere.
        """
        assert self.root is not None, "adapters are loaded from under a root"
        parts = path.split("/")
        if not all(NAME.fullmatch(part) for part in parts):
            raise ApiError(
                400,
                f"lora_path = {path!r} is not valid: names of letters, digits, '.', '_' and '-', "
                "parted by '/', under the server's folder of adapters.",
                "lora_path",
            )
        root = self.root.resolve()
        folder = root.joinpath(*parts)
        if not folder.is_dir() or not _inside(folder, root):
            raise ApiError(404, f"no adapter {path!r} under the server's folder.", "lora_path")
        found = locate_adapter(str(folder))
        for file in (found, *found.iterdir()):
            if not _inside(file, root):
                raise ApiError(400, f"{path!r}: {file.name} leads elsewhere.", "lora_path")
        return found


@contextmanager
def _giving_way() -> Iterator[None]:
    """In this block, threads hold the GIL for a shorter time while others want it.

    A step is thousands of operations, and after each it waits for the thread that holds the GIL.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, _GIVING_WAY))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def check_name(name: str, base: str) -> None:
    """Raise InputError for an invalid name of an adapter."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"the adapter name {name!r} is not valid: letters, digits, '.', '_' and '-', of which "
            "a letter or digit is the first; 96 at most."
        )
    if name == base:
        raise InputError(f"the adapter name {name!r} is the base's; choose another.")


def _inside(path: Path, root: Path) -> bool:
    """Whether a path, with links resolved, is under the root."""
    return path.resolve().is_relative_to(root)
