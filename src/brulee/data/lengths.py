"""Which rows of a task fit within the maximum length, and their mean length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from brulee.data.encoding import Encoder
from brulee.data.task import Task
from brulee.errors import InputError
from brulee.progress import bar


@dataclass(frozen=True)
class Fitting:
    """The rows that fit, how many of them have their source cut, and their mean token count."""

    rows: tuple[int, ...]
    cut: int
    mean_tokens: float


def fitting_rows(
    task: Task, encoder: Encoder, rows: Sequence[int], split: str = "train"
) -> Fitting:
    """Encode each row under the first template.

    Raises InputError, with the first row's reason, if none fits; FramingError naming a row that the
    model's framing does not support.
    """
    template = task.templates.templates[0]
    fitting, cut, tokens, reason = [], 0, 0, ""
    items = ((template, values, "") for values in task.rows.some(rows))
    documents = encoder.fit_many(items, lambda number: task.rows.place(rows[number]))
    with bar(f"Measuring {split} rows", total=len(rows), unit="rows") as progress:
        for row, found in zip(rows, documents, strict=True):
            progress.advance()
            if isinstance(found, InputError):
                reason = reason or f"{task.rows.place(row)}: {found}"
            elif found is not None:
                fitting.append(row)
                cut += found.cut > 0
                tokens += len(found.ids)
    if rows and not fitting:
        raise InputError(
            f"train.max_length: every {split} row ({len(rows)}) is longer; raise it, or shorten "
            f"the completions; the first: {reason}"
        )
    return Fitting(tuple(fitting), cut, tokens / max(len(fitting), 1))
