"""The phrasings that a test row is scored under, if there are several.

Scores of two phrasings must differ only by the phrasing. So all must pose the same task on the same
rows: inverted templates pose another task, templates with a rationale have different answers, and
a template that applies to only some rows would be scored on different ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from brulee.data.row_checks import render
from brulee.data.task import Task
from brulee.data.template import Rendered, Template


def alike(templates: Sequence[Template], first: Template) -> tuple[Template, ...]:
    """The templates that pose the same task as `first`, all with or all without a rationale."""
    return tuple(t for t in templates if _kind(t) == _kind(first))


def wording(templates: Sequence[Template], shots: int = 0, every: bool = True) -> str:
    """The sha256 of the templates' texts and the number of few-shot examples.

    If `every` row is scored under all templates, their order does not matter; otherwise it decides
    which row gets which template.
    """
    texts = [template.digest for template in templates]
    parts = [str(shots), *(sorted(texts) if every else texts)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _kind(template: Template) -> tuple[bool, bool]:
    return template.metadata.original_task is not False, bool(template.metadata.rationale)


@dataclass(frozen=True)
class Phrasing:
    """A template that applies to every scored row, and the labels that all rows share.

    `labels` is None if the rows' answer choices differ, or there are none.
    """

    template: Template
    labels: tuple[str, ...] | None


@dataclass(frozen=True)
class Phrased:
    """Rows, the phrasings that apply to all of them, and the row counts of the other templates."""

    rows: tuple[int, ...]
    phrasings: tuple[Phrasing, ...]
    left_out: dict[str, int]


def phrased(
    task: Task, rows: Sequence[int], templates: Sequence[Template], limit: int | None
) -> Phrased:
    """The first `limit` rows that the first template applies to, and all templates that apply.

    Raises InputError naming a row that cannot be rendered.
    """
    first, *others = templates
    chosen: dict[int, dict[str, Any]] = {}
    found: list[Rendered] = []
    for row, values in zip(rows, task.rows.some(rows), strict=True):
        if len(chosen) == limit:
            break
        if (rendered := _applied(task, row, values, first)) is not None:
            chosen[row] = values
            found.append(rendered)
    kept, left_out = [Phrasing(first, _labels(found))], {}
    for template in others:
        of_rows = (_applied(task, row, values, template) for row, values in chosen.items())
        applied = [rendered for rendered in of_rows if rendered is not None]
        if len(applied) == len(chosen):
            kept.append(Phrasing(template, _labels(applied)))
        else:
            left_out[template.name] = len(applied)
    return Phrased(tuple(chosen), tuple(kept), left_out)


def _applied(task: Task, row: int, values: dict[str, Any], template: Template) -> Rendered | None:
    """A row rendered by a template; None if the prompt or the completion is empty."""
    rendered = render(task.rows, row, values, template)
    return rendered if rendered is not None and rendered.completion else None


def _labels(found: Sequence[Rendered]) -> tuple[str, ...] | None:
    choices = {rendered.choices for rendered in found}
    return choices.pop() if len(choices) == 1 else None
