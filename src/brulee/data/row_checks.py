"""Checks of rows before they are trained on or scored."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from brulee.data.rows import spellings
from brulee.data.sources import Rows
from brulee.data.template import Rendered, Template
from brulee.data.templates import TemplateSet
from brulee.errors import InputError, nearest
from brulee.progress import bar
from brulee.yaml_lines import quoted

# A larger share of rows without a completion means that the data is wrong.
MOST_EMPTY = 0.05
Seen = Callable[[int, Mapping[str, Any], Rendered], None]


@dataclass(frozen=True)
class Usable:
    """The rows to train on and to score, the counts of dropped rows by reason, and the labels.

    `labels` are the answer choices, None unless every row has the same ones.
    """

    rows: frozenset[int]
    dropped: dict[str, int]
    labels: tuple[str, ...] | None


def usable_rows(rows: Rows, templates: TemplateSet, seen: Seen | None = None) -> Usable:
    """Render every row under the first template, and check the columns all templates print.

    `seen` is called with each usable row's number, values and rendering. Raises InputError naming
    the row with a missing column or label, and if more than 5% of the completions are empty.
    """
    template = templates.templates[0]
    needs = {t.required: t for t in reversed(templates.templates)}
    usable: set[int] = set()
    empty: list[int] = []
    choices: set[tuple[str, ...] | None] = set()
    inapplicable = 0
    with bar("Checking rows", total=len(rows), unit="rows") as progress:
        for i, values in enumerate(rows):
            for needing in needs.values():
                _require(rows, i, values, needing)
            rendered = render(rows, i, values, template)
            if rendered is None:
                inapplicable += 1
            elif rendered.completion:
                usable.add(i)
                choices.add(rendered.choices)
                if seen is not None:
                    seen(i, values, rendered)
            else:
                empty.append(i)
            progress.advance()
    if len(empty) > MOST_EMPTY * len(rows):
        raise InputError(
            f"{rows.place(empty[0])}: the completion is empty, as in {len(empty)} of {len(rows)} "
            f"rows; at most {MOST_EMPTY:.0%} may be (they are left out). Check the column that "
            f"template {template.name!r} learns from."
        )
    none = "blank text" if template.plain else "template not applicable"
    dropped = {"empty completion": len(empty), none: inapplicable}
    labels = choices.pop() if len(choices) == 1 else None
    return Usable(frozenset(usable), dropped, labels)


def require_columns(rows: Rows, templates: TemplateSet) -> None:
    """Raise InputError, with the nearest name, if a column that a template needs is missing."""
    present = {name for column in rows.columns for name in (column, column.replace("-", "_"))}
    for template in templates:
        missing = sorted(template.required - present)
        if missing:
            close = nearest(missing[0], rows.columns)
            if close:
                hint = f" Did you mean data.columns: {{{missing[0]}: {quoted(close[0])}}}?"
            else:
                hint = f" data.columns: {{{missing[0]}: COLUMN}} takes another column for it."
            raise InputError(
                f"{rows.label}: no column {missing[0]!r}, which template {template.name!r} needs; "
                f"columns present: {', '.join(rows.columns)}.{hint}"
            )


def render(rows: Rows, i: int, values: dict[str, Any], template: Template) -> Rendered | None:
    """Render a row under a template; InputError naming the row."""
    try:
        return template.render(values, "")
    except InputError as error:
        raise InputError(f"{rows.place(i)}: {error}") from None


def _require(rows: Rows, i: int, values: dict[str, Any], template: Template) -> None:
    """Reject a row that lacks what the template prints: a null would silently render as nothing."""
    if not any(_is_missing(values.get(column)) for column in template.required):
        return
    filled = {name.replace("-", "_") for name, value in values.items() if not _is_missing(value)}
    missing = sorted(c for c in template.required - filled if _is_missing(values.get(c)))
    if not missing:
        return
    name = missing[0]
    what = "label" if name not in template.source_columns else "column"
    present = ", ".join(c for c, v in values.items() if not _is_missing(v)) or "none"
    count = sum(map(_is_missing, rows.column(spellings(values)[name])))
    part = "completion" if what == "label" else "prompt"
    how = f"{{% if {name} is not none %}} ... {{% endif %}} around the {part} leaves such rows out."
    raise InputError(
        f"{rows.place(i)}: the {what} {name!r} that template {template.name!r} needs is missing, "
        f"as in {count} of {len(rows)} rows; columns with a value in this row: {present}. "
        f"{'Remove such rows from the file.' if template.plain else how}"
    )


def _is_missing(value: Any) -> bool:
    """Whether a value is null, or NaN, which would be learned as the word "nan"."""
    return value is None or (isinstance(value, float) and math.isnan(value))
