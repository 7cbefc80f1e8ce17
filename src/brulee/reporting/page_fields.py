"""The fields of JSON answers that are wrong most often, before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from brulee.evaluation import METRICS
from brulee.evaluation.json_fields import JsonFields
from brulee.evaluation.json_values import Path
from brulee.reporting import wording
from brulee.reporting.items import Answer, Item
from brulee.reporting.page_tables import table
from brulee.reporting.results import Results

_MOST: Final = 12  # fields per table


def fields(results: Results, items: Sequence[Item]) -> str:
    """A table of fields, worst first, for each task whose answers are scored as JSON."""
    first = {m.keys[0]: m for m in METRICS.values() if isinstance(m, JsonFields)}
    # Metrics that differ only in ignoring order have the same fields.
    judged: dict[tuple[str, bool], JsonFields] = {}
    for pair in results.comparisons:
        if metric := first.get(pair.metric):
            judged.setdefault((pair.task, metric.fenced), metric)
    tables = [
        _table(
            f"{task}{_together(results.over(task))}", metric, [i for i in items if i.task == task]
        )
        for (task, _), metric in judged.items()
    ]
    shown = "".join(filter(None, tables))
    if not shown:
        return ""
    return (
        "<section><h2>Which fields are right?</h2><p>F1 of each field that is in the references. "
        "The one that is most often wrong after training comes first.</p>"
        f"{shown}</section>"
    )


def _together(phrasings: int) -> str:
    return f", over {phrasings} phrasings" if phrasings > 1 else ""


def _table(task: str, metric: JsonFields, items: Sequence[Item]) -> str:
    # Only answers scored by this metric are sure to have JSON references.
    own = [item for item in items if item.has(metric.keys[0])]
    before, wanted = _counted(metric, (item.before for item in own))
    after, _ = _counted(metric, (item.after for item in own))
    ordered = sorted(wanted, key=lambda path: (after[path], -wanted[path], path))
    rows = [
        [escape(".".join(path) or "the whole answer"), wording.fixed(before[path]),
         wording.fixed(after[path]), str(wanted[path])]
        for path in ordered[:_MOST]
    ]  # fmt: skip
    if not rows:
        return ""
    left = len(ordered) - len(rows)
    more = f", the {len(rows)} worst of {len(ordered)}" if left else ""
    read = " (fenced)" if metric.fenced else ""
    return table(f"Fields of {task}{read}{more}", ("Field", "Before", "After", "Values"), rows)


def _counted(
    metric: JsonFields, answers: Iterable[Answer]
) -> tuple[dict[Path, float], Counter[Path]]:
    """The F1 of each field in the references, and the number of its values there."""
    right, found, wanted = Counter[Path](), Counter[Path](), Counter[Path]()
    for answer in answers:
        said, due = metric.pair(answer.output, answer.references)
        wanted.update(path for path, _ in due.fields.elements())
        if said is not None:
            found.update(path for path, _ in said.fields.elements())
            right.update(path for path, _ in (said.fields & due.fields).elements())
    return {p: 2 * right[p] / (found[p] + wanted[p]) for p in wanted}, wanted
