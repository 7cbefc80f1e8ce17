"""The interface of a tracker, and what it is opened with."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

# How a training ended: "stopped" was requested, and can be resumed.
Outcome = Literal["finished", "stopped", "failed"]
Plain = str | int | float | bool


class Tracker(Protocol):
    """A service that draws curves; `id` is its name for this run.

    A resumed training logs all its steps again, and a tracker skips those it has. After a kill, it
    may have fewer than it was sent, or more than the checkpoint has.
    """

    package: ClassVar[str | None]  # the package it needs
    name: str
    id: str

    def __init__(self, at: Opening) -> None:
        """Open it. Errors are reported to the user."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log the values of a step."""

    def finish(self, outcome: Outcome) -> None:
        """Flush everything, and record how the training ended."""


@dataclass(frozen=True)
class Opening:
    """What a tracker is opened with: a training that continues after `step`.

    `run` is the run's name, `folder` the place for files, `recipe` its values under dotted names.
    `id` is the tracker's earlier name for this run, None if it is new.
    """

    run: str
    folder: Path
    recipe: Mapping[str, Plain]
    step: int = 0
    id: str | None = None


def words(error: Exception) -> str:
    """A library's error message, on one line and shortened."""
    said = str(error).strip().rstrip(".") or type(error).__name__
    return textwrap.shorten(said, 400, placeholder=" ...")
