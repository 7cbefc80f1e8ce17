"""What a run is from Python: its folder, and what it found as objects."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brulee.errors import InputError
from brulee.inference.session import Session, open_session
from brulee.pipeline.folder import check_is_run
from brulee.reporting import notebook, results, terminal
from brulee.reporting.html import FILE_NAME as REPORT
from brulee.reporting.results import Results
from brulee.training.events import read_events


@dataclass(frozen=True, init=False)
class Run:
    """A run's folder, read when it is asked; a path wherever one is taken.

    A notebook shows what it measured, `print` as the command line does.
    """

    folder: Path

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """`folder` is read when it is asked, and need not be there before."""
        object.__setattr__(self, "folder", Path(folder))

    def __fspath__(self) -> str:
        """The folder."""
        return str(self.folder)

    def __repr__(self) -> str:
        """The folder, on one line."""
        return f"Run({str(self.folder)!r})"

    def __str__(self) -> str:
        """The verdict, the scores, the guards, the cost; of a training alone, where it lies."""
        if not self._scored:
            return f"{self!r}, trained and not scored"
        found, report = self.results, self.report
        return terminal.printed(lambda console: terminal.show(found, console, report))

    def _repr_html_(self) -> str | None:
        """The same for a notebook; None, for which that shows the folder, before it was scored."""
        return notebook.html(self.results, self.report) if self._scored else None

    @property
    def results(self) -> Results:
        """All that was measured, as in results.json.

        Raises InputError before it was scored, and for a folder that holds no run.
        """
        if not self._scored:
            check_is_run(self.folder)
            raise InputError(
                f"{self.folder}: trained but not scored yet; brulee.run with the same recipe does "
                "that."
            )
        return results.read(self.folder)

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        return self.results.verdict or ""

    @property
    def scores(self) -> list[dict[str, Any]]:
        """A mapping per metric of each task and guard, before against after: rows of a table."""
        found = self.results
        pairs = [*found.comparisons, *found.forgetting]
        shown = ("task", "metric", "base", "tuned", "difference", "low", "high", "p")
        return [{key: getattr(pair, key) for key in shown} for pair in pairs]

    @property
    def events(self) -> list[dict[str, Any]]:
        """What happened in training, as in events.jsonl: a mapping per step, validation ..."""
        return read_events(self.folder / "events.jsonl")

    @property
    def report(self) -> Path:
        """Where the page with all of it lies."""
        return self.folder / REPORT

    @property
    def weights(self) -> Path:
        """The folder of the adapter in PEFT's format, or of the model that was tuned whole.

        Raises InputError before there is one.
        """
        for name in ("adapter", "model"):
            if (self.folder / name).is_dir():
                return self.folder / name
        check_is_run(self.folder)
        raise InputError(f"{self.folder}: this run has no adapter yet; train it first.")

    def answers(self, who: str = "tuned") -> list[dict[str, Any]]:
        """What a model, `base` or `tuned`, wrote for each test item and guard, with its scores."""
        if who not in ("base", "tuned"):
            raise InputError(f"answers of {who!r}: it should be 'base' or 'tuned'.")
        files = sorted((self.folder / "eval" / who).glob("*.jsonl"))
        return [json.loads(line) for file in files for line in _lines(file)]

    def load(self, device: str = "auto", precision: str = "auto") -> Session:
        """The tuned model, ready to answer."""
        return open_session(self.folder, device, precision)

    @property
    def _scored(self) -> bool:
        return (self.folder / results.FILE_NAME).is_file()


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8").split("\n") if line]
