"""A run in Python: its folder, and its results as objects."""

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
    """A run's folder, read on access; accepted wherever a path is.

    A notebook shows the results as HTML, `print` as on the command line.
    """

    folder: Path

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """`folder` is read on access, and need not exist before."""
        object.__setattr__(self, "folder", Path(folder))

    def __fspath__(self) -> str:
        """The folder's path."""
        return str(self.folder)

    def __repr__(self) -> str:
        """The folder, on one line."""
        return f"Run({str(self.folder)!r})"

    def __str__(self) -> str:
        """The verdict, scores, guards and cost; if only trained, the folder."""
        if not self._scored:
            return f"{self!r}, trained and not scored"
        found, report = self.results, self.report
        return terminal.printed(lambda console: terminal.show(found, console, report))

    def _repr_html_(self) -> str | None:
        """The same for a notebook; None before scoring, so that the notebook shows the folder."""
        return notebook.html(self.results, self.report) if self._scored else None

    @property
    def results(self) -> Results:
        """All results, as in results.json.

        Raises InputError before scoring, and for a folder without a run.
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
        """A mapping per metric of each task and guard, before and after: rows of a table."""
        found = self.results
        pairs = [*found.comparisons, *found.forgetting]
        shown = ("task", "metric", "base", "tuned", "difference", "low", "high", "p")
        return [{key: getattr(pair, key) for key in shown} for pair in pairs]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of training, as in events.jsonl: a mapping per step, validation ..."""
        return read_events(self.folder / "events.jsonl")

    @property
    def report(self) -> Path:
        """The path of report.html."""
        return self.folder / REPORT

    @property
    def weights(self) -> Path:
        """The folder of the adapter in PEFT's format, or of the fully fine-tuned model.

        Raises InputError before there is one.
        """
        for name in ("adapter", "model"):
            if (self.folder / name).is_dir():
                return self.folder / name
        check_is_run(self.folder)
        raise InputError(f"{self.folder}: this run has no adapter yet; train it first.")

    def answers(self, who: str = "tuned") -> list[dict[str, Any]]:
        """Answers of a model, `base` or `tuned`, to each test item and guard, with their scores.

        Raises InputError for another name.
        """
        if who not in ("base", "tuned"):
            raise InputError(f"answers of {who!r}: it should be 'base' or 'tuned'.")
        files = sorted((self.folder / "eval" / who).glob("*.jsonl"))
        return [json.loads(line) for file in files for line in _lines(file)]

    def load(self, device: str = "auto", precision: str = "auto") -> Session:
        """The tuned model, ready to generate."""
        return open_session(self.folder, device, precision)

    @property
    def _scored(self) -> bool:
        return (self.folder / results.FILE_NAME).is_file()


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text(encoding="utf-8").split("\n") if line]
