"""A sweep in Python: its folder, and its results as objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brulee.errors import InputError
from brulee.pipeline.result import Run
from brulee.reporting import notebook, sweep_results, sweep_text, terminal
from brulee.reporting.sweep_page import FILE_NAME as PAGE


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder, read on access; accepted wherever a path is.

    A notebook shows the results as HTML, `print` as on the command line.
    """

    folder: Path

    def __fspath__(self) -> str:
        """The folder's path."""
        return str(self.folder)

    def __repr__(self) -> str:
        """The folder, on one line."""
        return f"Sweep({str(self.folder)!r})"

    def __str__(self) -> str:
        """The verdict, the trials, the test rows."""
        found, report = self.results, self.report
        return terminal.printed(lambda console: sweep_text.show(found, console, report))

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        return notebook.sweep_html(self.results, self.report)

    @property
    def results(self) -> sweep_results.Sweep:
        """All results, as in sweep.json."""
        return sweep_results.read(self.folder)

    @property
    def best(self) -> Run:
        """The run of the chosen trial. Raises InputError if no trial finished."""
        found = self.results.best
        if found is None:
            raise InputError(f"{self.folder}: no trial of this sweep came to its end.")
        return Run(self.folder / found.run)

    @property
    def settings(self) -> dict[str, Any]:
        """The chosen values by key; {} for the recipe's own setting if it is not on the axes."""
        found = self.results.best
        return dict(found.settings) if found else {}

    @property
    def trials(self) -> list[dict[str, Any]]:
        """A mapping per trial, the best first: rows of a table."""
        found = self.results
        rest = [trial for trial in found.trials if trial.value is None]
        shown = ("run", "state", "own", "value", "values", "method", "seconds", "reason")
        keys = sweep_text.axes(found)
        return [
            {**{key: trial.settings.get(key) for key in keys}}
            | {key: getattr(trial, key) for key in shown}
            for trial in (*found.ranked, *rest)
        ]

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        return f"{sweep_text.verdict(self.results)[0]}."

    @property
    def report(self) -> Path:
        """The path of sweep.html."""
        return self.folder / PAGE
