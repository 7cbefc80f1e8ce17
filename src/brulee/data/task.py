"""A task: rows, the templates that phrase them, and their split, checked before any model loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from brulee.data.encoding import Encoded, Encoder
from brulee.data.formats import describe, detect, require_templates
from brulee.data.sources import Rows, open_source
from brulee.data.splits import Splits, split_rows
from brulee.data.template import Rendered, Template
from brulee.data.templates import TemplateSet, load_templates
from brulee.errors import InputError, nearest, unknown
from brulee.progress import bar, note
from brulee.recipe import DataSpec, Source

# Past this share of rows without a completion, the data is taken to be wrong rather than untidy.
MOST_EMPTY = 0.05


@dataclass(frozen=True)
class Item:
    """A test row as it is scored: what is read, and what would be right."""

    id: str
    prompt: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """Rows that can be trained on and scored.

    `train`, `validation` and `test` are row indices with an applicable template and a completion;
    `dropped` counts the others by reason. `labels` are the answer choices, where every row has the
    same.
    """

    name: str
    rows: Rows
    templates: TemplateSet
    splits: Splits
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    references: tuple[str, ...]
    dropped: dict[str, int]
    labels: tuple[str, ...] | None

    def encode(self, encoder: Encoder, row: int, template: int, key: str) -> Encoded | None:
        """Token ids of a row under a template, cut to fit; InputError naming the row otherwise."""
        try:
            return encoder.fit(self.templates.templates[template], self.rows[row], key)
        except InputError as error:
            raise InputError(f"{self.rows.place(row)}: {error}") from None

    def encode_nearest(self, encoder: Encoder, row: int, template: int, key: str) -> Encoded:
        """As `encode`, with the next template in order where one does not apply or does not fit.

        Every row kept for training fits the first, so that the search ends.
        """
        reason = InputError(f"{self.rows.place(row)}: no template applies to it.")
        for offset in range(len(self.templates)):
            try:
                encoded = self.encode(encoder, row, (template + offset) % len(self.templates), key)
            except InputError as error:
                reason = error
            else:
                if encoded is not None:
                    return encoded
        raise reason

    def item(self, row: int, encoder: Encoder, room: int | None) -> Item:
        """A row under the first template, with every reference it has.

        The prompt is cut to `room` tokens as a training document is. Raises InputError naming the
        row where that cannot be done.
        """
        values = self.rows[row]
        template = self.templates.templates[0]
        rendered = _render(self.rows, row, values, template)
        assert rendered is not None, "rows that no template applies to were dropped"
        prompt: str | None = rendered.prompt
        if room is not None:
            prompt = encoder.fit_prompt(template, values, rendered.prompt, room)
        if prompt is None:
            raise InputError(
                f"{self.rows.place(row)}: its prompt does not fit into the {room} tokens that the "
                "model can read beside evaluate.generation.max_new_tokens, even with the source "
                "text cut."
            )
        further = [values[c] for c in self.references if values.get(c)]
        return Item(str(row), prompt, (rendered.completion, *further))


def open_task(spec: DataSpec, source: Source) -> Task:
    """Read, check and split a task's rows; without templates, their format says how to phrase them.

    Raises InputError naming file and row for whatever cannot be trained on: a column that the
    template needs, a missing label, or too many empty completions.
    """
    rows = open_source(spec.source, source.resolve, spec.columns, spec.limit)
    detected = None
    if spec.templates is None:
        detected = detect(rows, spec.limit)
        rows, templates = detected.rows, require_templates(detected)
    else:
        templates = _templates(spec.templates, source)
    for column in spec.references:
        if column not in rows.columns:
            where = source.at(("data", "references"))
            raise unknown("column", column, rows.columns, where)
    _require_columns(rows, templates)
    splits = split_rows(rows, spec.split, templates.source_columns, tuple(templates.columns))
    usable, dropped, labels = _usable(rows, templates)
    parts = {
        name: tuple(i for i in getattr(splits, name) if i in usable)
        for name in ("train", "validation", "test")
    }
    if not parts["train"]:
        raise InputError(f"{rows.name}: no row is left to train on; dropped: {dropped}.")
    if detected is not None:
        note(describe(detected, rows[parts["train"][0]]))
    name = rows.name.rsplit("/", 1)[-1].split(".", 1)[0] or rows.name
    return Task(name, rows, templates, splits, **parts, references=tuple(spec.references),
                dropped=dropped, labels=labels)  # fmt: skip


def _templates(spec: str | list[str] | dict[str, Any], source: Source) -> TemplateSet:
    try:
        return load_templates(spec, source.resolve)
    except InputError as error:
        raise InputError(f"{source.at(('data', 'templates'))}: {error}") from None


def check_lengths(
    task: Task, encoder: Encoder, rows: Sequence[int], split: str = "train"
) -> tuple[tuple[int, ...], int]:
    """The rows whose completion fits into `max_length`, and how many had their source cut.

    Raises InputError, with the first row's reason, when not one fits.
    """
    fitting, cut, reason = [], 0, ""
    for row in rows:
        try:
            encoded = task.encode(encoder, row, 0, "")
        except InputError as error:
            reason = reason or str(error)
            continue
        if encoded is not None:
            fitting.append(row)
            cut += encoded.cut > 0
    if rows and not fitting:
        raise InputError(
            f"every {split} row ({len(rows)}) is longer than train.max_length, which has to be "
            f"raised, or the completions shortened; the first: {reason}"
        )
    return tuple(fitting), cut


def _usable(
    rows: Rows, templates: TemplateSet
) -> tuple[set[int], dict[str, int], tuple[str, ...] | None]:
    """The rows to train on and to score, how many are not and why, and the labels."""
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
            rendered = _render(rows, i, values, template)
            if rendered is None:
                inapplicable += 1
            elif rendered.completion:
                usable.add(i)
                choices.add(rendered.choices)
            else:
                empty.append(i)
            progress.advance()
    if len(empty) > MOST_EMPTY * len(rows):
        raise InputError(
            f"{rows.place(empty[0])}: the completion is empty, as in {len(empty)} of {len(rows)} "
            f"rows; at most {MOST_EMPTY:.0%} may be (they are left out). Check the column that "
            f"template {template.name!r} learns from."
        )
    dropped = {"empty completion": len(empty), "template not applicable": inapplicable}
    return usable, dropped, choices.pop() if len(choices) == 1 else None


def _require_columns(rows: Rows, templates: TemplateSet) -> None:
    present = {name for column in rows.columns for name in (column, column.replace("-", "_"))}
    for template in templates:
        missing = sorted(template.required - present)
        if missing:
            close = nearest(missing[0], rows.columns)
            hint = f" Did you mean data.columns: {{{missing[0]}: {close[0]}}}?" if close else ""
            raise InputError(
                f"{rows.name}: no column {missing[0]!r}, which template {template.name!r} needs; "
                f"columns present: {', '.join(rows.columns)}.{hint}"
            )


def _require(rows: Rows, i: int, values: dict[str, Any], template: Template) -> None:
    """Refuse a row that lacks what the template prints; a null would train on nothing, unseen."""
    filled = {name.replace("-", "_") for name, value in values.items() if value is not None}
    missing = sorted(c for c in template.required - filled if values.get(c) is None)
    if not missing:
        return
    what = "label" if missing[0] not in template.source_columns else "column"
    present = ", ".join(c for c, v in values.items() if v is not None) or "none"
    raise InputError(
        f"{rows.place(i)}: the {what} {missing[0]!r} that template {template.name!r} needs is "
        f"missing; columns with a value in this row: {present}."
    )


def _render(rows: Rows, i: int, values: dict[str, Any], template: Template) -> Rendered | None:
    try:
        return template.render(values, "")
    except InputError as error:
        raise InputError(f"{rows.place(i)}: {error}") from None
