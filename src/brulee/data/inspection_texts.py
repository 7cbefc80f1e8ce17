"""Statistics of a task's texts: labels, echoes of the source, leaks between splits."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from brulee.data.leakage import Leakage, Severity, input_text, leakage, near_of, pair_of
from brulee.data.normalised import normalise
from brulee.data.rows import spellings
from brulee.data.splits import NAMES
from brulee.data.task import Task
from brulee.errors import InputError
from brulee.progress import bar

# With more distinct completions than this, they are texts, not labels.
_MOST_LABELS = 200
_ROWS_PER_LABEL = 4


@dataclass(frozen=True)
class Labels:
    """The count of each label by split.

    `unused` are answer choices that are no row's completion in any split.
    """

    counts: dict[str, dict[str, int]]
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Texts:
    """Statistics of a task's rows under its first template.

    `read` rows of `of` were read. `labels` is None if completions are texts. `leaks` are sentences
    about `leakage`, with their severities. `echoes` counts rows whose completion is their whole
    source; `first_echo` is the location of the first.
    """

    read: int
    of: int
    distinct_completions: int
    labels: Labels | None
    leakage: Leakage
    leaks: tuple[tuple[Severity, str], ...]
    echoes: int
    first_echo: str


@dataclass(frozen=True)
class _Read:
    split: str
    row: int
    pair: tuple[bytes, bytes]
    completion: str
    echo: bool


def read_texts(path: str, task: Task, most: int) -> Texts:
    """Render up to `most` rows, chosen by a hash of their number, and compare them.

    Each split gets up to a third of `most`, and train also what the others leave of theirs.
    """
    chosen = {name: sample(getattr(task, name), most // len(NAMES)) for name in NAMES}
    left = most - sum(map(len, chosen.values()))
    if left > 0:
        chosen["train"] = sample(task.train, len(chosen["train"]) + left)
    with bar(f"Reading {path}", total=sum(map(len, chosen.values())), unit="rows") as progress:
        read = []
        for one in _read(task, chosen):
            read.append(one)
            progress.advance()
    counts = {name: Counter(one.completion for one in read if one.split == name) for name in NAMES}
    echoes = [one for one in read if one.echo]
    pairs = {name: {one.row: one.pair for one in read if one.split == name} for name in NAMES}
    found = leakage(pairs, near_of(task, sorted(one.row for one in read)))
    return Texts(
        len(read),
        sum(len(getattr(task, name)) for name in NAMES),
        len(set().union(*counts.values())),
        _labels(task, counts, len(read)),
        found,
        tuple(found.sentences(task.rows.place)),
        len(echoes),
        task.rows.place(echoes[0].row) if echoes else "",
    )


def sample(rows: Sequence[int], most: int, seed: object = "") -> tuple[int, ...]:
    """At most `most` of the rows, in order: those of lowest hash of `seed` and row number."""
    if len(rows) <= most:
        return tuple(rows)
    ranked = sorted(rows, key=lambda row: hashlib.blake2b(f"{seed}|{row}".encode()).digest())
    return tuple(sorted(ranked[:most]))


def _read(task: Task, chosen: dict[str, tuple[int, ...]]) -> Iterator[_Read]:
    template = task.templates.templates[0]
    columns = task.templates.source_columns
    for name, rows in chosen.items():
        for row, values in zip(rows, task.rows.some(rows), strict=True):
            try:
                rendered = template.render(values, "")
            except InputError as error:
                raise InputError(f"{task.rows.place(row)}: {error}") from None
            assert rendered is not None, "rows that no template applies to were dropped"
            spelled = spellings(values)
            said = [values[spelled[c]] for c in columns if c in spelled]
            alone = "\n".join(str(value) for value in said if value not in (None, "", []))
            echo = not rendered.plain and normalise(alone or rendered.prompt) == normalise(
                rendered.completion
            )
            pair = pair_of(input_text(said, rendered.prompt), rendered.completion)
            yield _Read(name, row, pair, rendered.completion, echo)


def _labels(task: Task, counts: dict[str, Counter[str]], rows: int) -> Labels | None:
    distinct = set().union(*counts.values())
    if task.labels is None:
        few = 1 < len(distinct) <= min(_MOST_LABELS, rows // _ROWS_PER_LABEL)
        if not few:
            return None
    order = [*(task.labels or ()), *sorted(distinct - set(task.labels or ()))]
    found = {
        name: {label: count[label] for label in order if label in distinct}
        for name, count in counts.items()
        if count
    }
    return Labels(found, tuple(label for label in order if label not in distinct))
