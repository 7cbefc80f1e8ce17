"""A leaderboard as text: on a terminal, as CSV, as JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from brulee.reporting.leaderboard import Entry, Leaderboard
from brulee.reporting.tables import parts
from brulee.reporting.wording import metric_name

DASH: Final = "–"
_WIDE: Final = 4  # columns; with more, the models stand side by side instead
_COLUMNS: Final = (
    "model", "task", "metric", "value", "low", "high", "items", "partial", "source",
)  # fmt: skip


def cell(entry: Entry | None) -> str:
    """`0.512 ±0.021`, with a star if it is an average over a part only."""
    if entry is None:
        return DASH
    star = "*" if entry.partial else ""
    if entry.low is None or entry.high is None:
        return f"{entry.value:.3f}{star}"
    return f"{entry.value:.3f} ±{(entry.high - entry.low) / 2:.3f}{star}"


def heading(column: tuple[str, str]) -> str:
    """A column's heading: the task, then the metric."""
    task, metric = column
    return f"{task} {metric_name(metric)}"


def notes(found: Leaderboard) -> list[str]:
    """Notes that qualify the numbers."""
    said = ["± is half the 95% interval. Bold: the best score; dim: an interval that excludes it."]
    if any(entry.partial for entry in found.entries):
        said.append("* the average of only part of the suite: not an official score.")
    if found.wins:
        said.append("Mean win rate: the share of other models that a model beats, over columns.")
    differing = {column: found.items(column) for column in found.columns}
    counts = [f"{heading(c)} ({n[0]:,} to {n[1]:,})" for c, n in differing.items() if n is not None]
    if counts:
        said.append(f"Scores on different numbers of items: {', '.join(counts)}.")
    texts = {column: found.reworded(column) for column in found.columns}
    unlike = [f"{heading(c)} ({' | '.join(map(', '.join, m))})" for c, m in texts.items() if m]
    if unlike:
        said.append(
            "Asked in different texts (templates, answer choices, number of examples): "
            f"{'; '.join(unlike)}."
        )
    return said


def terminal(found: Leaderboard, width: int) -> list[Table | Text]:
    """The tables for a terminal of `width` columns: a row per model, or per score if many."""
    heads = [heading(column) for column in found.columns]
    grid = [[_styled(found, model, column) for column in found.columns] for model in found.models]
    names: Sequence[str] = found.models
    first = "Model"
    if found.wins:
        heads = [*heads, "win rate"]
        grid = [[*row, Text(_rate(found.wins.get(m)))] for m, row in zip(names, grid, strict=True)]
    if len(found.columns) > _WIDE:
        first, names, heads = "Score", heads, list(found.models)
        grid = [list(row) for row in zip(*grid, strict=True)]
    rows: list[list[str | Text]] = [[name, *row] for name, row in zip(names, grid, strict=True)]
    shown: list[Table | Text] = []
    for part in parts([first, *heads], rows, width):
        shown += [part, Text()]
    return [*shown[:-1], *(Text(note, style="dim") for note in notes(found))]


def as_csv(found: Leaderboard) -> str:
    """One line per score, with its interval and source file."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: one[key] for key in _COLUMNS} for one in as_json(found)["scores"])
    return out.getvalue()


def as_json(found: Leaderboard) -> dict[str, Any]:
    """The same as a JSON object."""
    scores = [
        {
            "model": entry.model,
            "task": entry.task,
            "metric": entry.column[1],
            "value": entry.value,
            "low": entry.low,
            "high": entry.high,
            "items": entry.items,
            "partial": entry.partial,
            "higher_is_better": entry.higher_is_better,
            "wording": entry.wording,
            "source": entry.source,
        }
        for model in found.models
        for column in found.columns
        if (entry := found.entry(model, column)) is not None
    ]
    return {"models": list(found.models), "mean_win_rate": found.wins, "scores": scores}


def _styled(found: Leaderboard, model: str, column: tuple[str, str]) -> Text:
    entry = found.entry(model, column)
    if entry is None or found.best(column) is None:
        return Text(cell(entry))
    if entry is found.best(column):
        return Text(cell(entry), style="bold")
    return Text(cell(entry), style="" if found.near_best(entry) else "dim")


def _rate(rate: float | None) -> str:
    return DASH if rate is None else f"{rate:.2f}"
