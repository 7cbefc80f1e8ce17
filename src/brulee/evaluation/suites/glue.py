"""GLUE (Wang et al. 2019): nine tasks and the diagnostic set, in the leaderboard's file formats.

prompt=likelihood compares the same answers as lm-evaluation-harness (which has neither STS-B nor
AX; their prompts are our own and MNLI's). prompt=text-to-text is T5's format, in which the label is
generated and invalid labels are counted. phrasings= uses the template library's phrasings instead.
Without split=, the development rows are scored, or the test rows if only these exist; their answers
are published only for MRPC.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, final

from pydantic import Field

from brulee.errors import InputError, unknown
from brulee.evaluation.base import Metric
from brulee.evaluation.classification import Matthews
from brulee.evaluation.matching import ExactMatch
from brulee.evaluation.scores import mean
from brulee.evaluation.suites.glue_bundle import check_rows, glue_bundle
from brulee.evaluation.suites.glue_table import AVERAGED, ENTRIES, Entry
from brulee.evaluation.suites.label_f1 import LabelF1
from brulee.evaluation.suites.labels import LabelTask
from brulee.evaluation.suites.over_phrasings import Asked, OverPhrasings, check_one_phrasing
from brulee.evaluation.suites.rows import Row, check_folder, read_hub, read_tsv
from brulee.evaluation.suites.similarity import GRADES, Similarity
from brulee.evaluation.tasks import (
    Aggregate,
    Answered,
    Example,
    Generation,
    Suite,
    SuiteTask,
    TaskScores,
)
from brulee.recipe import Strict
from brulee.recipe.base import Count

Split = Literal["dev", "test"]
_SPLITS: Final[tuple[Split, ...]] = ("dev", "test")
_HUB: Final = "nyu-mll/glue"
_GRADE: Final = re.compile(r"\d+(?:\.\d*)?")
# The template families of tasks that have none of the same name.
_FAMILIES: Final = {"mnli-m": "mnli", "mnli-mm": "mnli", "ax": "mnli"}
_WRITTEN: Final = Generation(16, ("\n",))


class Options(Strict):
    """The options of `--set`; `tasks` defaults to all tasks whose files exist."""

    prompt: Literal["likelihood", "text-to-text"] = "likelihood"
    tasks: list[str] = Field(default_factory=list)
    split: Split | None = None
    phrasings: Literal["all"] | Count | None = Field(
        None, description="ask in the first N phrasings of the template library, or in all"
    )


@final
class GLUE(Suite):
    """Nine tasks, the diagnostic set, the leaderboard's average and submission files."""

    name = "glue"
    summary = "nine tasks of language understanding and a diagnostic set"
    leaderboard: ClassVar[bool] = True
    Options: ClassVar[type[Strict]] = Options

    def open(self, data: Path | None, options: Any) -> list[SuiteTask]:
        """The requested tasks, or all whose files exist."""
        for name in options.tasks:
            if name not in ENTRIES:
                raise unknown("task of glue", name, ENTRIES)
        if options.phrasings and options.prompt != "likelihood":
            raise InputError(
                f"--set, suite glue: phrasings = {options.phrasings} compares the answers of each "
                f"phrasing, but prompt = {options.prompt} generates them; leave out one of the "
                "two."
            )
        if data is not None:
            check_folder(data)
        found = []
        for name in options.tasks or ENTRIES:
            entry = ENTRIES[name]
            files = _files(data, entry, options.split) if data is not None else {}
            if data is not None and not files and options.tasks:
                wanted = _wanted(entry, options.split)
                raise InputError(f"{data}: no file of {name} here; looked for {wanted}.")
            if data is None or files:
                found.append(_task(entry, files, options))
        return found

    def aggregates(self, scored: Mapping[str, TaskScores]) -> list[Aggregate]:
        """The leaderboard's average: MNLI counts once, AX does not count."""
        parts = []
        for names in AVERAGED:
            if all(f"glue/{name}" in scored for name in names):
                found = [(scored[f"glue/{name}"].scores, ENTRIES[name].scores) for name in names]
                scores = [of[key] for of, keys in found for key in keys if key in of]
                parts += [scores] if scores else []
        label = "mean over tasks, each the mean of its scores"
        return [mean("glue", "average", parts, len(AVERAGED), label)] if parts else []

    def check_bundle(self, examples: Mapping[str, Sequence[Example]]) -> None:
        """Raise InputError for several phrasings or a wrong number of test rows."""
        check_one_phrasing(examples)
        check_rows(examples)

    def bundle(self, answered: Mapping[str, Answered]) -> dict[str, str]:
        """One TSV file per task."""
        return glue_bundle(answered)


def _files(data: Path, entry: Entry, split: Split | None) -> dict[Split, list[Path]]:
    """The files of the first of the requested splits that exist."""
    for one in (split,) if split else _SPLITS:
        for names in _names(entry, one):
            for folder in entry.folders:
                paths = [data / folder / name for name in names]
                if all(path.is_file() for path in paths):
                    return {one: paths}
    return {}


def _names(entry: Entry, split: Split) -> Sequence[Sequence[str]]:
    """What the files of a split may be called."""
    return {"dev": entry.dev, "test": entry.test}[split]


def _wanted(entry: Entry, split: Split | None) -> str:
    splits = (split,) if split else _SPLITS
    files = [n for one in splits for names in _names(entry, one) for n in names]
    return ", ".join(f"{entry.folders[0]}/{n}" for n in files)


def _task(entry: Entry, files: Mapping[Split, Sequence[Path]], options: Options) -> SuiteTask:
    written = options.prompt == "text-to-text"
    load = partial(_examples, entry, files, options)
    generation = _WRITTEN if written else None
    name = f"glue/{entry.name}"
    by_word = dict(zip(entry.t5, entry.labels, strict=True))
    task = Similarity(name, load, generation) if not entry.labels else LabelTask(
        name, entry.labels, _metrics(entry), load, generation,
        # An invalid label is quoted, so that it equals no label.
        lambda text: by_word.get(text.strip(), repr(text)),
    )  # fmt: skip
    if options.phrasings:
        family = _FAMILIES.get(entry.name, entry.name)
        columns = partial(_columns, entry, files, options)
        return OverPhrasings(task, family, columns, options.phrasings)
    return task


def _metrics(entry: Entry) -> list[Metric]:
    known: dict[str, Metric] = {"accuracy": ExactMatch("accuracy")}
    if "matthews" in entry.scores:
        known["matthews"] = Matthews(entry.labels)
    if "f1" in entry.scores:
        known["f1"] = LabelF1(positive="1", negative="0")
    return [known[key] for key in entry.scores]


def _examples(
    entry: Entry, files: Mapping[Split, Sequence[Path]], options: Options, limit: int | None
) -> list[Example]:
    split, rows = _rows(entry, files, options)
    make = _written if options.prompt == "text-to-text" else _compared
    return [make(entry, row, i, split) for i, row in enumerate(rows[:limit])]


def _columns(
    entry: Entry, files: Mapping[Split, Sequence[Path]], options: Options, limit: int | None
) -> list[Asked]:
    """The items, each with the columns of its template family."""
    split, rows = _rows(entry, files, options)
    return [
        (
            _compared(entry, row, i, split),
            {name: row.text(*columns) for name, columns in entry.texts.items()},
        )
        for i, row in enumerate(rows[:limit])
    ]


def _rows(
    entry: Entry, files: Mapping[Split, Sequence[Path]], options: Options
) -> tuple[Split, list[Row]]:
    split: Split = next(iter(files), options.split or "dev")
    if files:
        return split, [row for file in files[split] for row in _read(entry, file)]
    return split, read_hub(
        f"{_HUB}:{entry.hub}", entry.hub_dev if split == "dev" else entry.hub_test
    )


def _read(entry: Entry, file: Path) -> list[Row]:
    return read_tsv(file, entry.headless.get(file.name, ()))


def _compared(entry: Entry, row: Row, number: int, split: Split) -> Example:
    """An example with the answers as choices."""
    texts = {name: row.text(*columns) for name, columns in entry.texts.items()}
    if entry.with_stop:
        text = texts[entry.with_stop].strip()
        texts[entry.with_stop] = text if text.endswith(".") else f"{text}."
    gold = _gold(entry, row)
    words = entry.words or tuple(map(str, GRADES))
    right = {"gold": entry.labels.index(gold)} if gold in entry.labels else {}
    return Example(
        id=f"{split}/{number}",
        question=entry.prompt.format(**texts),
        choices=tuple(f" {word}" for word in words),
        references=() if gold is None else (gold,),
        about={"index": _index(row, number), **right},
    )


def _written(entry: Entry, row: Row, number: int, split: Split) -> Example:
    """T5's format: the task's name, then every text after its name, sorted by name."""
    texts = [f"{name}: {row.text(*columns)}" for name, columns in sorted(entry.texts.items())]
    gold = _gold(entry, row)
    words = dict(zip(entry.labels, entry.t5, strict=True))
    return Example(
        id=f"{split}/{number}",
        question=" ".join([entry.t5_name or entry.name, *texts]),
        references=() if gold is None else (gold,),
        about={
            "index": _index(row, number),
            **({} if gold is None else {"gold": words.get(gold, gold)}),
        },
    )


def _gold(entry: Entry, row: Row) -> str | None:
    """The correct label, or STS-B's grade as written; None if it is not published."""
    if not row.has(*entry.gold):
        return None
    value = row.get(*entry.gold)
    if value in (-1, "-", "-1", "hidden", None):
        return None
    if entry.labels:
        return row.label(entry.labels, *entry.gold)
    grade = _GRADE.fullmatch(str(value))
    if grade is None or float(grade[0]) > GRADES[-1]:
        raise InputError(
            f"{row.place}: the score is {value!r}; it must be a number from 0 to {GRADES[-1]}."
        )
    return str(value)


def _index(row: Row, number: int) -> int:
    names = ("index", "idx")
    return row.number(*names) if row.has(*names) else number
