"""Progress bars and notes on stderr or in a notebook, drawn only if enabled."""

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
_waiting: Any = None  # the spinner drawn while nothing can be counted
_LINE_EVERY_SECONDS = 15.0
_CELL_EVERY_SECONDS = 0.5
_CELL_KEEPS_SECONDS = 1.0  # shorter work leaves no line there
_cell: Any = None  # the output of the running notebook cell
_WIDE = 100  # terminal columns needed to also show the unit and the elapsed time


class Bar(Protocol):
    """One running task that can be advanced and annotated."""

    def advance(self, count: float = 1, **fields: str) -> None:
        """Move by `count` units and show the fields, for instance loss="1.23"."""

    def known(self, count: float) -> None:
        """Move by `count` units that were done before: they say nothing of the time left."""

    def show(self, **fields: str) -> None:
        """Show fields that are rare enough to get their own line in a log."""


def enable(on: bool = True) -> None:
    """Switch drawing on or off for the whole process; it is off unless a command turned it on."""
    global _enabled
    _enabled = on


def enabled() -> bool:
    """Whether progress is drawn."""
    return _enabled


@contextmanager
def shown(on: bool | None = None) -> Iterator[None]:
    """Switch drawing on or off inside this block; None leaves it unchanged, or on in a notebook.

    In a notebook, all bars and notes of the block are one text below the cell, updated in place.
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
    """A progress bar for `total` units of work; nothing is drawn for fewer than `least`.

    A terminal gets a live bar with the time left; a log gets one line every 15 seconds, so that
    short work prints nothing there. Nothing is drawn inside another bar's work, or for no work.
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
    """Show what is being waited for when nothing can be counted; not in a log.

    A bar replaces it for as long as the bar is drawn.
    """
    global _waiting
    # Of several processes that share a terminal, only rank 0 writes.
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
    """A bar that shows nothing, for work whose parts have their own bars."""
    yield _Silent()


def note(text: str) -> None:
    """Print a note where bars are drawn, if they are."""
    if not _enabled:
        return
    (_print if _cell is None else _cell.add)(text)


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class _Silent:
    def advance(self, count: float = 1, **fields: str) -> None:
        pass

    def known(self, count: float) -> None:
        pass

    def show(self, **fields: str) -> None:
        pass


class _Lines:
    """Prints a task's progress every `every` seconds."""

    def __init__(
        self, description: str, total: float, unit: str, every: float, say: Callable[[str], None]
    ) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.every, self.say = every, say
        self.done = self.before = 0.0
        self.fields: dict[str, str] = {}
        self.started = self.printed = time.monotonic()
        self.told = 0.0  # `done` when the last line was printed

    def advance(self, count: float = 1, **fields: str) -> None:
        self.done += count
        self.fields.update(fields)
        if time.monotonic() - self.printed >= self.every:
            self.say(self.line())

    def known(self, count: float) -> None:
        self.done += count
        self.before += count

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
        here = self.done - self.before
        left = elapsed * (self.total - self.done) / here if here else 0.0
        shown = "".join(f"  {key} {value}" for key, value in self.fields.items())
        return (
            f"{self.description}: {self.done:.0f}/{self.total:.0f} {self.unit}{shown}"
            f"  {elapsed:.0f} s{f', {left:.0f} s left' if self.done < self.total else ''}"
        )


class _Cell:
    """The output below a notebook's cell: lines that stay, and one that is being updated."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.handle: Any = None
        self.text = ""

    def add(self, line: str) -> None:
        """Add a line that stays."""
        self.said.append(line)
        self.show("")

    def show(self, line: str) -> None:
        """Show a line below those that stay, until the next one."""
        text = "\n".join([*self.said, *([line] if line else [])])
        # Output can be replaced, but not removed.
        if text in ("", self.text):
            return
        self.text = text
        # As plain text, not HTML: it may contain text from a row or a label.
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

    def known(self, count: float) -> None:
        self.advance(count)  # rich leaves the first one out of its speed

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
    # When space is short, the bar shrinks first; numbers are never cut before it.
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
    # By default, the time left is forgotten when two steps are half a minute apart.
    progress = Progress(*columns, console=console, speed_estimate_period=math.inf)
    with progress:
        yield _Live(progress, progress.add_task(description, total=total, shown=""))
