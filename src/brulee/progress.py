"""Progress bars with their notes: on stderr, and only where the command line asked for them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

_enabled = False
_drawing = False
_waiting: Any = None  # what is drawn while nothing can be counted
_LINE_EVERY_SECONDS = 15.0
_WIDE = 100  # columns that a terminal needs to show the unit and the time gone, too


class Bar(Protocol):
    """One running task that can be advanced and annotated."""

    def advance(self, count: float = 1, **fields: str) -> None:
        """Move by `count` units and show the fields, for instance loss="1.23"."""

    def show(self, **fields: str) -> None:
        """Show fields that are rare enough for a line of their own in a log."""


def enable(on: bool = True) -> None:
    """Switch drawing on or off for the whole process; it is off unless a command turned it on."""
    global _enabled
    _enabled = on


def enabled() -> bool:
    """Whether a person is to see how the work goes."""
    return _enabled


@contextmanager
def bar(description: str, total: float, unit: str = "") -> Iterator[Bar]:
    """A progress bar for a piece of work of `total` units.

    A terminal gets a live bar with rate and time left; a log gets one line every 15 seconds, so
    that short work prints nothing there. Inside another bar's work, and where there is nothing to
    do, nothing is drawn.
    """
    global _drawing
    if not _enabled or _drawing or not total:
        yield _Silent()
        return
    _drawing = True
    if _waiting is not None:
        _waiting.stop()
    try:
        if sys.stderr.isatty():
            with _live(description, total, unit) as live:
                yield live
        else:
            lines = _Lines(description, total, unit)
            yield lines
            lines.finish()
    finally:
        _drawing = False
        if _waiting is not None:
            _waiting.start(refresh=True)


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Say on a terminal what is being waited for where nothing can be counted; a log is not told.

    A bar takes its place as long as it is there.
    """
    global _waiting
    # Of several processes that share a terminal, the first speaks.
    mute = _drawing or _waiting is not None or os.environ.get("RANK", "0") != "0"
    if not _enabled or mute or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner

    shown = Spinner("dots", f"{text} ...")
    _waiting = Live(shown, console=Console(stderr=True), refresh_per_second=10, transient=True)
    _waiting.start(refresh=True)
    try:
        yield
    finally:
        _waiting.stop()
        _waiting = None


@contextmanager
def silent() -> Iterator[Bar]:
    """A bar that shows nothing, for work whose parts have bars of their own."""
    yield _Silent()


def note(text: str) -> None:
    """Say something worth knowing on stderr, where bars are drawn."""
    if _enabled:
        print(text, file=sys.stderr, flush=True)


class _Silent:
    def advance(self, count: float = 1, **fields: str) -> None:
        pass

    def show(self, **fields: str) -> None:
        pass


class _Lines:
    def __init__(self, description: str, total: float, unit: str) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.done = 0.0
        self.fields: dict[str, str] = {}
        self.started = self.printed = time.monotonic()
        self.told = 0.0  # how much was done when a line was printed last

    def advance(self, count: float = 1, **fields: str) -> None:
        self.done += count
        self.fields.update(fields)
        if time.monotonic() - self.printed >= _LINE_EVERY_SECONDS:
            self._print()

    def show(self, **fields: str) -> None:
        self.fields.update(fields)
        self._print()

    def finish(self) -> None:
        if self.printed > self.started and self.told != self.done:
            self._print()

    def _print(self) -> None:
        self.printed, self.told = time.monotonic(), self.done
        elapsed = self.printed - self.started
        left = elapsed * (self.total - self.done) / self.done if self.done else 0.0
        shown = "".join(f"  {key} {value}" for key, value in self.fields.items())
        print(
            f"{self.description}: {self.done:.0f}/{self.total:.0f} {self.unit}{shown}"
            f"  {elapsed:.0f} s, {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )


class _Live:
    def __init__(self, progress: Any, task: Any) -> None:
        self.progress, self.task = progress, task
        self.fields: dict[str, str] = {}

    def advance(self, count: float = 1, **fields: str) -> None:
        self.fields.update(fields)
        shown = "  ".join(f"{key} {value}" for key, value in self.fields.items())
        self.progress.update(self.task, advance=count, shown=shown)

    def show(self, **fields: str) -> None:
        self.advance(0, **fields)


@contextmanager
def _live(description: str, total: float, unit: str) -> Iterator[_Live]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    console = Console(stderr=True)
    wide = console.width >= _WIDE
    # Only the bar gives way where there is no room; numbers are never cut before it has.
    columns = (
        TextColumn("{task.description}", style="bold"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        *([TextColumn(unit)] if wide else []),
        TextColumn("{task.fields[shown]}", style="cyan"),
        *([TimeElapsedColumn(table_column=Column(no_wrap=True))] if wide else []),
        TextColumn("left"),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
    )
    progress = Progress(*columns, console=console)
    with progress:
        yield _Live(progress, progress.add_task(description, total=total, shown=""))
