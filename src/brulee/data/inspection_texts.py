"""What a task's texts show before any token is counted: labels, repeats, rows between splits."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from brulee.data.leakage import Leakage, Severity, input_text, leakage
from brulee.data.rows import spellings
from brulee.data.splits import NAMES, normalise
from brulee.data.task import Task
from brulee.errors import InputError
from brulee.progress import bar

# More different completions than this are texts, not labels.
_MOST_LABELS = 200
_ROWS_PER_LABEL = 4


@dataclass(frozen=True)
class Labels:
    """How often each label is the completion, by split.

    `unused` are answer choices that no row of any split has.
    """

    counts: dict[str, dict[str, int]]
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Texts:
    """What reading a task's rows under its first template shows.

    `read` rows of `of` were read. `labels` is None where completions are texts. `leaks` says in
    words what of `leakage` matters, and how bad it is. `echoes` are rows whose completion is their
    whole source; `first_echo` says where the first of them stands.
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
    source: str
    completion: str
    echo: bool


def read_texts(path: str, task: Task, most: int) -> Texts:
    """Render up to `most` rows, those of lowest hash of their number, and compare them.

    The test and validation rows are read first, since it is they that must not be in train.
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
    pairs = {
        name: {one.row: (one.source, one.completion) for one in read if one.split == name}
        for name in NAMES
    }
    found = leakage(pairs)
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
    """At most so many of some rows, in their order: a choice that never changes for other rows."""
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
            source = input_text(said, rendered.prompt)
            yield _Read(name, row, source, rendered.completion, echo)


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
