"""BIG-bench: the published JSON tasks, and the normalised score.

    brulee eval MODEL --suite bigbench --data benchmark_tasks --set preset=lite

The task files are in the source distribution of the package `bigbench` 1.0.0 on PyPI. All scores
are fractions, even where the package reports percentages.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, final

from pydantic import Field

from brulee.errors import InputError, unknown
from brulee.evaluation.scores import mean
from brulee.evaluation.suites.bigbench_presets import FULL_COUNT, HARD, LITE, PROGRAMS, UNSCORED
from brulee.evaluation.suites.bigbench_schema import FILE, JsonTask, read_task
from brulee.evaluation.suites.bigbench_task import BigBenchTask, ways
from brulee.evaluation.suites.rows import check_folder
from brulee.evaluation.tasks import Aggregate, Scored, Suite, SuiteTask, TaskScores
from brulee.recipe import Strict
from brulee.recipe.base import Count

_INSIDE: Final = Path("bigbench") / "benchmark_tasks"  # in the package
_KEY: Final = "normalized_preferred_score"


class Options(Strict):
    """The options of `--set`.

    preset: full, lite or hard (see bigbench_presets.py). tasks: names of folders, or
    NAME/SUBTASK, instead of a preset. shots: solved examples before each question.
    max_new_tokens: the maximum length of an answer.
    """

    preset: Literal["full", "lite", "hard"] = "full"
    tasks: list[str] = Field(default_factory=list)
    shots: Annotated[int, Field(ge=0)] = 0
    max_new_tokens: Count = 64


@final
class BigBench(Suite):
    """JSON tasks from a folder, selected by preset or by name."""

    name = "bigbench"
    summary = "BIG-bench's JSON tasks"
    Options: ClassVar[type[Strict]] = Options

    def open(self, data: Path | None, options: Any) -> list[SuiteTask]:
        """Every task and subtask, once for each kind of request that its metrics need.

        `data` is the folder of all tasks, the package that contains it, or one task's folder.
        """
        if data is None:
            raise InputError(
                "bigbench: give the folder of its task files with --data; they are in the source "
                "distribution of the package bigbench 1.0.0 on PyPI, and not on the Hub."
            )
        check_folder(data)
        return [
            way
            for name, task in _read(data, options).items()
            for way in ways(f"bigbench/{name}", task, options.shots, options.max_new_tokens)
        ]

    def aggregates(self, scored: Mapping[str, TaskScores]) -> list[Aggregate]:
        """The normalised score of each task with subtasks, of all tasks, and of each preset.

        (raw - chance) / (best - chance): 0 is chance level, below is negative. A task counts as the
        mean of its subtasks.
        """
        found: dict[str, list[Scored]] = defaultdict(list)
        for scores in scored.values():
            normalised = _normalised(scores)
            if normalised is not None:
                found[scores.task.name.split("/")[1]].append(normalised)
        averages = [
            mean(f"bigbench/{name}", _KEY, [[s] for s in parts], len(parts), "normalised")
            for name, parts in found.items()
            if len(parts) > 1
        ]
        groups: dict[str, tuple[Collection[str], int]] = {
            "bigbench": (found, FULL_COUNT),
            "bigbench/lite": (LITE, len(LITE)),
            "bigbench/hard": (HARD, len(HARD)),
        }
        for title, (names, of) in groups.items():
            parts = [found[name] for name in names if name in found]
            if parts:
                overall = mean(title, _KEY, parts, of, "normalised, mean over tasks")
                averages.append(_counted(overall, parts))
        return averages


def _read(data: Path, options: Options) -> dict[str, JsonTask]:
    """The requested tasks and their subtasks, by name."""
    root = data / _INSIDE if (data / _INSIDE).is_dir() else data
    if (root / FILE).is_file():
        alone = root.resolve()
        return _parts(read_task(alone, alone.name), options.tasks, alone.name)
    held = sorted(file.parent.name for file in root.glob(f"*/{FILE}"))
    if not held:
        raise InputError(f"{data}: no folder in it has a {FILE}, as tasks of BIG-bench have.")
    wanted = options.tasks or _preset(options.preset, held, data)
    tasks: dict[str, JsonTask] = {}
    for name in dict.fromkeys(entry.split("/")[0] for entry in wanted):
        if name not in held:
            raise unknown("task of bigbench", name, held, str(data))
        tasks |= _parts(read_task(root / name, name), wanted, name)
    return tasks


def _preset(name: str, held: Sequence[str], data: Path) -> list[str]:
    if name == "full":
        return [task for task in held if task not in UNSCORED]
    wanted = [task for task in (LITE if name == "lite" else HARD) if task not in PROGRAMS]
    if missing := [task for task in wanted if task not in held]:
        raise InputError(f"{data}: the preset {name} also has {', '.join(missing)}.")
    return wanted


def _parts(read: dict[str, JsonTask], wanted: Sequence[str], name: str) -> dict[str, JsonTask]:
    """All subtasks of a task, or only those requested by name."""
    named = [entry for entry in wanted if entry.split("/")[0] == name and "/" in entry]
    for entry in named:
        if entry not in read:
            raise unknown("task of bigbench", entry, read)
    return {part: task for part, task in read.items() if not named or part in named}


def _counted(average: Aggregate, parts: Sequence[Sequence[Scored]]) -> Aggregate:
    """The average with the number of items over all subtasks."""
    items = sum(score.interval.n for scores in parts for score in scores)
    return dataclasses.replace(average, interval=average.interval._replace(n=items))


def _normalised(scores: TaskScores) -> Scored | None:
    """A task's preferred score, normalised from chance to best; None if it lacks that score."""
    task = scores.task
    assert isinstance(task, BigBenchTask), "open() makes no other"
    if task.preferred is None or task.preferred not in scores.scores:
        return None
    raw = scores.scores[task.preferred]
    low, high = task.range()
    value, below, above = ((v - low) / (high - low) for v in raw.interval[:3])
    interval = raw.interval._replace(value=value, low=below, high=above)
    return dataclasses.replace(
        raw, interval=interval, resampled=(raw.resampled - low) / (high - low), share=False
    )
