"""SuperGLUE (Wang et al. 2019): eight tasks and two diagnostic sets, in the official JSON Lines.

Without split=, the val rows are scored, or the test rows if only these exist. AX-b and AX-g have
one file each; only some copies include the answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, final

from pydantic import Field

from brulee.errors import InputError, unknown
from brulee.evaluation.base import Metric
from brulee.evaluation.classification import MacroF1, Matthews
from brulee.evaluation.matching import ExactMatch
from brulee.evaluation.scores import mean
from brulee.evaluation.suites.labels import LabelTask
from brulee.evaluation.suites.over_phrasings import (
    Asked,
    OverPhrasings,
    check_one_phrasing,
    over_all,
)
from brulee.evaluation.suites.parity import PARITY, PairedLabels
from brulee.evaluation.suites.reading import MultiRC, ReCoRD, multirc_from_hub, record_from_hub
from brulee.evaluation.suites.rows import Row, check_folder, read_hub, read_jsonl
from brulee.evaluation.suites.superglue_bundle import FILES, check_rows, superglue_bundle
from brulee.evaluation.suites.superglue_table import ENTRIES, Entry, gold
from brulee.evaluation.tasks import Aggregate, Answered, Example, Suite, SuiteTask, TaskScores
from brulee.recipe import Strict
from brulee.recipe.base import Count

Split = Literal["val", "test"]
_HUB: Final = "aps/super_glue"
_DIAGNOSTIC: Final = ("axb", "axg")
# Template column -> its names in the official files or the Hub's copy.
_SENTENCES: Final[dict[str, tuple[str, ...]]] = {
    "sentence1": ("premise", "sentence1"),
    "sentence2": ("hypothesis", "sentence2"),
}
_COLUMNS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "boolq": {name: (name,) for name in ("passage", "question")},
    "cb": {name: (name,) for name in ("premise", "hypothesis")},
    "copa": {name: (name,) for name in ("premise", "choice1", "choice2", "question")},
    "rte": _SENTENCES,
    "wic": {
        name: (name,)
        for name in ("word", "sentence1", "sentence2", "start1", "end1", "start2", "end2")
    },
    "wsc": {name: (name,) for name in ("text", "span1_text", "span2_text", "span2_index")},
    "axb": _SENTENCES,
}
_AVERAGED: Final = tuple(name for name in FILES if name not in _DIAGNOSTIC)


class Options(Strict):
    """The options of `--set`; `tasks` defaults to all tasks whose files exist."""

    tasks: list[str] = Field(default_factory=list)
    split: Split | None = None
    phrasings: Literal["all"] | Count | None = Field(
        None, description="ask in the first N phrasings of the template library, or in all"
    )


@final
class SuperGLUE(Suite):
    """Eight tasks, AX-b, AX-g, the leaderboard's average and submission files."""

    name = "superglue"
    summary = "eight harder tasks of language understanding and two diagnostic sets"
    leaderboard: ClassVar[bool] = True
    Options: ClassVar[type[Strict]] = Options

    def open(self, data: Path | None, options: Any) -> list[SuiteTask]:
        """The requested tasks, or all whose files exist."""
        for name in options.tasks:
            if name not in FILES:
                raise unknown("task of superglue", name, FILES)
            if options.phrasings and name not in _COLUMNS:
                raise unknown("task of superglue with phrasings", name, _COLUMNS)
        if data is not None:
            check_folder(data)
        found = []
        for name in options.tasks or FILES:
            file = None if data is None else _file(data, name, options.split)
            if data is not None and file is None and options.tasks:
                looked_for = " or ".join(_places(name, options.split))
                raise InputError(f"{data}: no file of {name} here; looked for {looked_for}.")
            if options.phrasings and name not in _COLUMNS:
                continue
            if data is None or file is not None:
                found.append(_task(name, file, options.split or "val", options.phrasings))
        return found

    def aggregates(self, scored: Mapping[str, TaskScores]) -> list[Aggregate]:
        """The leaderboard's average, without AX-b and AX-g."""
        of = [scored[f"superglue/{n}"].scores for n in _AVERAGED if f"superglue/{n}" in scored]
        parts = [over_all(scores) for scores in of if scores]
        label = "mean over tasks, each the mean of its scores"
        return [mean("superglue", "average", parts, len(_AVERAGED), label)] if parts else []

    def check_bundle(self, examples: Mapping[str, Sequence[Example]]) -> None:
        """Raise InputError for several phrasings or a wrong number of test rows."""
        check_one_phrasing(examples)
        check_rows(examples)

    def bundle(self, answered: Mapping[str, Answered]) -> dict[str, str]:
        """One JSON Lines file per task."""
        return superglue_bundle(answered)


def _file(data: Path, name: str, split: Split | None) -> Path | None:
    places = [data / place for place in _places(name, split)]
    return next((place for place in places if place.is_file()), None)


def _places(name: str, split: Split | None) -> list[str]:
    if name in _DIAGNOSTIC:
        return [f"{FILES[name]}/{FILES[name]}.jsonl", f"{FILES[name]}.jsonl"]
    return [f"{FILES[name]}/{one}.jsonl" for one in ((split,) if split else ("val", "test"))]


def _task(
    name: str, file: Path | None, split: Split, phrasings: int | Literal["all"] | None
) -> SuiteTask:
    full = f"superglue/{name}"
    if name == "multirc":
        return MultiRC(full, partial(_rows, file, name, split))
    if name == "record":
        return ReCoRD(full, partial(_rows, file, name, split))
    entry = ENTRIES[name]
    task = LabelTask(full, entry.labels, _metrics(entry), partial(_examples, entry, file, split))
    if phrasings:
        return OverPhrasings(task, name, partial(_columns, entry, file, split), phrasings)
    return PairedLabels(task) if PARITY in entry.scores else task


def _metrics(entry: Entry) -> list[Metric]:
    made: dict[str, Metric] = {
        "accuracy": ExactMatch("accuracy"),
        "macro_f1": MacroF1(entry.labels),
        "matthews": Matthews(entry.labels),
    }
    return [made[key] for key in entry.scores if key in made]


def _rows(file: Path | None, name: str, split: Split) -> Sequence[Row]:
    if file is not None:
        return read_jsonl(file)
    hub = ENTRIES[name].hub if name in ENTRIES else name
    published = "test" if name in _DIAGNOSTIC or split == "test" else "validation"
    rows = read_hub(f"{_HUB}:{hub}", published)
    if name == "multirc":
        return multirc_from_hub(rows)
    return record_from_hub(rows) if name == "record" else rows


def _examples(entry: Entry, file: Path | None, split: Split, limit: int | None) -> list[Example]:
    rows = _rows(file, entry.name, split)[:limit]
    pairs = PARITY in entry.scores
    return [_example(entry, row, i, pairs) for i, row in enumerate(rows)]


def _columns(entry: Entry, file: Path | None, split: Split, limit: int | None) -> list[Asked]:
    """The items, each with the columns of the template family of the same name."""
    rows = _rows(file, entry.name, split)[:limit]
    found: list[Asked] = []
    for i, row in enumerate(rows):
        flat = Row(row.place, {**row.values, **_inside(row)})
        columns = {name: flat.get(*of) for name, of in _COLUMNS[entry.name].items()}
        found.append((_example(entry, row, i, False), columns))
    return found


def _inside(row: Row) -> Mapping[str, Any]:
    """The nested `target` object of WSC's official file; empty for other rows."""
    target = row.values.get("target")
    return target if isinstance(target, dict) else {}


def _example(entry: Entry, row: Row, number: int, pairs: bool) -> Example:
    question, choices = entry.ask(row)
    label = gold(entry, row)
    # The items of a pair are adjacent; the official file also numbers pairs.
    pair = row.values.get("pair_id", number // 2)
    return Example(
        id=str(row.values.get("idx", number)),
        question=question,
        choices=choices,
        references=() if label is None else (label,),
        cluster=str(pair) if pairs else "",
        about={
            "index": row.values.get("idx", number),
            **({} if label is None else {"gold": entry.labels.index(label)}),
        },
    )
