"""Progress bars with their notes, only where they are asked for: on stderr, or in a notebook."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Protocol

_enabled = False
_drawing = False
_waiting: Any = None  # what is drawn while nothing can be counted
_LINE_EVERY_SECONDS = 15.0
_CELL_EVERY_SECONDS = 0.5
_CELL_KEEPS_SECONDS = 1.0  # what took less leaves no line there
_cell: Any = None  # the lines of the notebook's cell that is running
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
def shown(on: bool | None = None) -> Iterator[None]:
    """Switch drawing on or off inside this block; None leaves it, and is on in a notebook.

    There all bars and notes of the block are one text below the cell, which is kept up to date.
    """
    global _enabled, _cell
    before = _enabled, _cell
    notebook = _in_notebook()
    _enabled = (_enabled or notebook) if on is None else on
    if notebook and _cell is None:
        _cell = _Cell()
    try:
        yield
    finally:
        _enabled, _cell = before


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


@contextmanager
def bar(description: str, total: float, unit: str = "", least: float = 0) -> Iterator[Bar]:
    """A progress bar for a piece of work of `total` units, where they are `least` or more.

    A terminal gets a live bar with rate and time left; a log gets one line every 15 seconds, so
    that short work prints nothing there. Inside another bar's work, and where there is nothing to
    do, nothing is drawn.
    """
    global _drawing
    if not _enabled or _drawing or not total or total < least:
        yield _Silent()
        return
    _drawing = True
    if _waiting is not None:
        _waiting.stop()
    try:
        if _cell is not None:
            task = _Lines(description, total, unit, _CELL_EVERY_SECONDS, _cell.show)
            try:
                yield task
            finally:
                if task.elapsed >= _CELL_KEEPS_SECONDS:
                    _cell.add(task.line())
        elif sys.stderr.isatty():
            with _live(description, total, unit) as live:
                yield live
        else:
            lines = _Lines(description, total, unit, _LINE_EVERY_SECONDS, _print)
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
    if not _enabled or mute or not (_cell or sys.stderr.isatty()):
        yield
        return
    if _cell is not None:
        _cell.show(f"{text} ...")
        try:
            yield
        finally:
            _cell.show("")
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
    if not _enabled:
        return
    (_print if _cell is None else _cell.add)(text)


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class _Silent:
    def advance(self, count: float = 1, **fields: str) -> None:
        pass

    def show(self, **fields: str) -> None:
        pass


class _Lines:
    """Says every so many seconds how far a task is."""

    def __init__(
        self, description: str, total: float, unit: str, every: float, say: Callable[[str], None]
    ) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.every, self.say = every, say
        self.done = 0.0
        self.fields: dict[str, str] = {}
        self.started = self.printed = time.monotonic()
        self.told = 0.0  # how much was done when a line was printed last

    def advance(self, count: float = 1, **fields: str) -> None:
        self.done += count
        self.fields.update(fields)
        if time.monotonic() - self.printed >= self.every:
            self.say(self.line())

    def show(self, **fields: str) -> None:
        self.fields.update(fields)
        self.say(self.line())

    def finish(self) -> None:
        if self.printed > self.started and self.told != self.done:
            self.say(self.line())

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def line(self) -> str:
        self.printed, self.told = time.monotonic(), self.done
        elapsed = self.printed - self.started
        left = elapsed * (self.total - self.done) / self.done if self.done else 0.0
        shown = "".join(f"  {key} {value}" for key, value in self.fields.items())
        return (
            f"{self.description}: {self.done:.0f}/{self.total:.0f} {self.unit}{shown}"
            f"  {elapsed:.0f} s{f', {left:.0f} s left' if self.done < self.total else ''}"
        )


class _Cell:
    """The text below a notebook's cell: what was said, and the line that is being written."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.handle: Any = None
        self.text = ""

    def add(self, line: str) -> None:
        """Say a line that stays."""
        self.said.append(line)
        self.show("")

    def show(self, line: str) -> None:
        """Show a line below what was said, until the next one."""
        text = "\n".join([*self.said, *([line] if line else [])])
        # What is shown gives way to other text, never to none: a cell cannot take its output back.
        if text in ("", self.text):
            return
        self.text = text
        # As it is, and not as HTML: it may hold what a row or a label says.
        shown = {"text/plain": text}
        if self.handle is None:
            display = import_module("IPython.display").display
            self.handle = display(shown, raw=True, display_id=True)
        else:
            self.handle.update(shown, raw=True)


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
    # As it is, the time left would be forgotten where two steps are half a minute apart.
    progress = Progress(*columns, console=console, speed_estimate_period=math.inf)
    with progress:
        yield _Live(progress, progress.add_task(description, total=total, shown=""))
