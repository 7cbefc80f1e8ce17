"""A suite's scores as one table: a row per task and metric, then the suite's averages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from brulee.evaluation.stats import Interval
from brulee.evaluation.tasks import Aggregate, TaskScores
from brulee.reporting import wording
from brulee.reporting.tables import TableRows


def table(scored: Mapping[str, TaskScores], averages: Sequence[Aggregate]) -> TableRows:
    """Task, metric, value, 95% interval and items; `scored` is keyed by task name."""
    shown = TableRows(("task", "score", "value", "95% interval", "items"))
    for task, found in scored.items():
        for key, one in found.scores.items():
            shown.add(task, key, *_cells(one.interval), wording.items(one.interval.n, one.units))
    for average in averages:
        cells = _cells(average.interval)
        shown.add(average.task, average.label, *cells, str(average.interval.n))
    return shown


def _cells(found: Interval) -> tuple[str, str]:
    return f"{found.value:.4f}", wording.exact_interval(found)
