"""Scores of a run on all its test items, on the clean and on the contaminated ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike

from brulee.data.rows import Rows
from brulee.errors import InputError
from brulee.evaluation.answers import Answer, clusters, read_lines
from brulee.evaluation.base import Metric
from brulee.evaluation.phrasings import by_phrasing, tables
from brulee.evaluation.resampling import Reduce
from brulee.evaluation.stats import Interval, interval

Items = Literal["all", "clean", "dirty"]
ITEMS: Final[tuple[Items, ...]] = ("all", "clean", "dirty")


@dataclass(frozen=True)
class Scored:
    """One metric of base and tuned on some items of a task; None if there are no such items."""

    task: str
    metric: str
    items: Items
    base: Interval | None
    tuned: Interval | None


def by_contamination(
    dirty: Sequence[bool],
    stats_NS: ArrayLike,
    reduce: Reduce,
    clusters: Sequence[str] | None = None,
) -> dict[Items, Interval | None]:
    """The score with its interval on all, clean and dirty items; None if there are none.

    `clusters` name the cluster of each item, if some are not independent.
    Raises ValueError if flags and statistics have different numbers of items.
    """
    stats = np.asarray(stats_NS, dtype=np.float64)
    flags = np.asarray(dirty, dtype=np.bool_)
    if flags.shape != stats.shape[:1]:
        raise ValueError(f"{len(flags)} flags for statistics of shape {stats.shape}.")
    chosen = {"all": np.ones_like(flags), "clean": ~flags, "dirty": flags}
    named = None if clusters is None else np.asarray(clusters)
    found: dict[Items, Interval | None] = {}
    for name in ITEMS:
        part = chosen[name]
        of = None if named is None else named[part]
        found[name] = interval(stats[part], reduce, clusters=of) if part.any() else None
    return found


def run_scores(
    run: Path,
    task: str,
    dirty: Mapping[int, bool],
    metrics: Sequence[Sequence[Metric]],
    phrasings: Sequence[str] = (),
) -> Iterator[Scored]:
    """The scores of base and tuned in a run, on all, clean and dirty items of a task.

    `task` is the name in the answers ("support-chats/test"), `dirty` maps each test row to whether
    it is contaminated, `metrics` are those of each phrasing; if there are several, `phrasings` has
    their names. Raises InputError if the run did not answer the task, answered other rows or under
    other phrasings, or was not scored with one of the metrics.
    """
    base, tuned = (_answers(run, who, task) for who in ("base", "tuned"))
    for answer in (*base, *tuned):
        if _row(answer) not in dirty:
            raise InputError(
                f"{run}: it answered row {answer.id} of {task}, which is no test row of this "
                f"recipe; give the recipe of the run, {run / 'recipe.yaml'}."
            )
    parts = [by_phrasing(answers) for answers in (base, tuned)]
    if any(len(side) != len(metrics) for side in parts):
        raise InputError(
            f"{run}: it answered {task} under {len(parts[0])} of its templates, and this recipe has"
            f" {len(metrics)} to score it under; give the recipe of the run, {run / 'recipe.yaml'}."
        )
    named = [answers[0].phrasing for answers in parts[0]]
    if len(metrics) > 1 and named != list(phrasings):
        raise InputError(
            f"{run}: it answered {task} under templates {', '.join(map(repr, named))}, and this "
            f"recipe has {', '.join(map(repr, phrasings))} to score it under; give the recipe of "
            f"the run, {run / 'recipe.yaml'}."
        )
    judged = {key for answer in base for key in answer.statistics}
    missing = next((m.keys[0] for m in metrics[0] if judged.isdisjoint(m.keys)), None)
    if missing is not None:
        raise InputError(
            f"{run}: it has no {missing} of {task}, which this recipe asks for; give the recipe of "
            f"the run, {run / 'recipe.yaml'}."
        )
    for key, _, both in tables(parts, metrics):
        found = [
            by_contamination(
                [dirty[_row(a)] for a in one.answers],
                one.stats,
                one.reduce,
                clusters=clusters(one.answers),
            )
            for one in both
        ]
        for items in ITEMS:
            yield Scored(task, key, items, found[0][items], found[1][items])


def check_rows(digests: Mapping[str, str], rows: Rows, run: Path) -> None:
    """Raise InputError if a run was made from other files than these rows.

    `digests` are those in its manifest. File names may differ, contents may not.
    """
    odd = [file for file, digest in rows.digests.items() if digest not in digests.values()]
    if odd:
        raise InputError(f"{run}: this run was made from other data than {odd[0]} is now.")


def _row(answer: Answer) -> int:
    """The row of an answer; the answer may be to a piece of it ("12/3")."""
    return int(answer.id.partition("/")[0])


def _answers(run: Path, who: str, task: str) -> list[Answer]:
    folder = run / "eval" / who
    every = [a for file in sorted(folder.glob("*.jsonl")) for a in read_lines(file)]
    answers = [answer for answer in every if answer.task == task]
    if not answers:
        tasks = ", ".join(dict.fromkeys(answer.task for answer in every)) or "nothing"
        raise InputError(f"{folder}: no answers to {task}; answered: {tasks}.")
    # Rows and their pieces, in the same order for both models.
    return sorted(answers, key=lambda answer: [int(part) for part in answer.id.split("/")])
