"""The phrasings under which a test row is scored, where that is more than one.

What differs between two phrasings' scores is to be the phrasing and nothing else. So they ask one
question of the same rows: inverted templates ask another, those that give their reasons are
answered otherwise, and one that applies to some of the rows only is scored on others.
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
    """Those that ask what the first asks, with reasons before the answer if it has them."""
    return tuple(t for t in templates if _kind(t) == _kind(first))


def wording(templates: Sequence[Template], shots: int = 0, every: bool = True) -> str:
    """The sha256 of the texts that rows are asked in, and of how many examples stand before them.

    Templates that `every` row is asked in may come in any order; otherwise which row has which one
    depends on it.
    """
    texts = [template.digest for template in templates]
    parts = [str(shots), *(sorted(texts) if every else texts)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _kind(template: Template) -> tuple[bool, bool]:
    return template.metadata.original_task is not False, bool(template.metadata.rationale)


@dataclass(frozen=True)
class Phrasing:
    """A template that applies to every row that is scored, and the labels that all of them have.

    `labels` is None where the rows' answer choices differ, or there are none.
    """

    template: Template
    labels: tuple[str, ...] | None


@dataclass(frozen=True)
class Phrased:
    """Rows, the phrasings that apply to all of them, and to how many each of the others does."""

    rows: tuple[int, ...]
    phrasings: tuple[Phrasing, ...]
    left_out: dict[str, int]


def phrased(
    task: Task, rows: Sequence[int], templates: Sequence[Template], limit: int | None
) -> Phrased:
    """The first `limit` rows to which the first template applies, and all that apply to them.

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
    """A row as a template phrases it; None where there is nothing to read or to answer."""
    rendered = render(task.rows, row, values, template)
    return rendered if rendered is not None and rendered.completion else None


def _labels(found: Sequence[Rendered]) -> tuple[str, ...] | None:
    choices = {rendered.choices for rendered in found}
    return choices.pop() if len(choices) == 1 else None
