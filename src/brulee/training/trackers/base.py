"""What a tracker is, and what it is opened with."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

# How a training ended: "stopped" is what somebody asked for, and can be gone on with.
Outcome = Literal["finished", "stopped", "failed"]
Plain = str | int | float | bool


class Tracker(Protocol):
    """A place that draws curves; `id` is what it calls this run.

    A resumed training tells all its steps again, and a tracker leaves out what it has. Where the
    training was killed, that may be less than it was told, or more than the checkpoint knows.
    """

    package: ClassVar[str | None]  # what has to be installed for it
    name: str
    id: str

    def __init__(self, at: Opening) -> None:
        """Open it. What it raises is told to whoever asked for the tracker."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Take in the numbers of a step."""

    def finish(self, outcome: Outcome) -> None:
        """Write what is still held back, and how the training ended."""


@dataclass(frozen=True)
class Opening:
    """What a tracker is opened with: a training that goes on after `step`.

    `run` is the run's name, `folder` where files may lie, `recipe` its values under dotted names.
    `id` is what the tracker called this run before, None where it does not know it yet.
    """

    run: str
    folder: Path
    recipe: Mapping[str, Plain]
    step: int = 0
    id: str | None = None


def words(error: Exception) -> str:
    """What a library's error says, on one line and of bearable length."""
    said = str(error).strip().rstrip(".") or type(error).__name__
    return textwrap.shorten(said, 400, placeholder=" ...")
