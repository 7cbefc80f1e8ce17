"""Task files of lm-evaluation-harness, provided that they contain no code.

    brulee eval MODEL --suite my_task.yaml [--data DIR] [--set num_fewshot=3]

A file defines its data, how a row becomes a question, and how a reply is scored; a group names
several tasks. Prompts are identical to those of the harness (0.4.13).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, final

from pydantic import Field

from brulee.errors import InputError
from brulee.evaluation.base import Array
from brulee.evaluation.scores import mean, pooled
from brulee.evaluation.suites.harness_config import (
    AverageConfig,
    GenerationConfig,
    GroupConfig,
    TaskConfig,
    group_config,
    task_config,
)
from brulee.evaluation.suites.harness_data import Documents
from brulee.evaluation.suites.harness_filters import Filter, build
from brulee.evaluation.suites.harness_prompt import examples
from brulee.evaluation.suites.harness_scores import Given, Score, scores_of
from brulee.evaluation.suites.harness_yaml import Config, find_task, read_config, tagged
from brulee.evaluation.tasks import (
    Aggregate,
    Example,
    Generation,
    Judged,
    Reply,
    Suite,
    SuiteTask,
    TaskScores,
)
from brulee.recipe import Strict

_NONE: Final = "none"  # the harness's filter name for scores without a filter


class Options(Strict):
    """The options of `--set`: num_fewshot, the number of shots before each question."""

    num_fewshot: Annotated[int, Field(ge=0)] | None = None


@final
class Harness(Suite):
    """The tasks of one file."""

    Options: ClassVar[type[Strict]] = Options

    def __init__(self, file: Path) -> None:
        self.file, self.name = file, file.stem
        # Set by open() for the averages: each group with the names of its tasks.
        self._groups: list[tuple[GroupConfig, tuple[str, ...]]] = []

    def open(self, data: Path | None, options: Any) -> list[SuiteTask]:
        """The task of the file, or the tasks of its group."""
        self._groups = []
        tasks: dict[str, HarnessTask] = {}
        for task in self._opened(read_config(self.file), data, options):
            if task.task != tasks.setdefault(task.name, task).task:
                raise InputError(f"{self.file}: two tasks are called {task.name}.")
        return list(tasks.values())

    def aggregates(self, scored: Mapping[str, TaskScores]) -> list[Aggregate]:
        """The groups' averages: over items if weighted by size, else over tasks."""
        return [
            average
            for group, names in self._groups
            for entry in _entries(group)
            for average in _averages(group.group, entry, names, scored)
        ]

    def _opened(self, config: Config, data: Path | None, options: Any) -> list[HarnessTask]:
        # In older files `group` means today's `tag`; a file with its own data is a task.
        if "group" not in config.values or "dataset_path" in config.values:
            return [_task(config, data, options)]
        group = group_config(config)
        entries = group.task if isinstance(group.task, list) else [group.task]
        found = [
            task
            for entry in entries
            for member in _members(entry, config)
            for task in self._opened(member, data, options)
        ]
        self._groups.append((group, tuple(dict.fromkeys(task.name for task in found))))
        return found


@final
class HarnessTask(SuiteTask):
    """One task: documents become questions, and replies are scored once for each filter."""

    def __init__(self, task: TaskConfig, documents: Documents) -> None:
        self.name, self.task, self.documents = task.task, task, documents
        if task.output_type == "generate_until":
            self.generation = _generation(task)
        self.wording = task.wording
        self.scores = scores_of(task.output_type, task.metric_list, task.task)
        self.filters: dict[str, Filter | None] = {_NONE: None}
        if task.filter_list:
            self.filters = {f.name: build(f, task.task) for f in task.filter_list}
        self.better = {m.metric: m.higher_is_better for m in task.metric_list or ()}
        self.metrics = tuple(_key(m, f) for f in self.filters for m in self.scores)
        self._classes = 0

    def examples(self, limit: int | None = None) -> list[Example]:
        """One example per document of the tested split."""
        found = examples(self.task, self.documents, limit)
        self._classes = max(len(example.about["wanted"].choices) for example in found)
        return found

    def judge(self, example: Example, reply: Reply) -> Judged:
        """Every score with every filter; the output is that of the last filter."""
        statistics = {}
        answer = reply.text
        for name, apply in self.filters.items():
            replies = [reply.text] * self.task.repeats  # greedy, hence identical
            answer = (apply(replies) if apply else replies)[0]
            given = Given(example.about["wanted"], reply, answer, self._classes)
            for metric, score in self.scores.items():
                statistics[_key(metric, name)] = score.count(given)
        return Judged(answer if not reply.likelihoods else _likeliest(example, reply), statistics)

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """See `Score`."""
        return self._score(key).reduce(mean_S, items)

    def higher_is_better(self, key: str) -> bool:
        """The task's setting, else the score's default."""
        said = self.better.get(key.partition(",")[0])
        return self._score(key).higher_is_better if said is None else said

    def _score(self, key: str) -> Score:
        return self.scores[key.partition(",")[0]]


def _task(config: Config, data: Path | None, options: Options) -> HarnessTask:
    task = task_config(config)
    if options.num_fewshot is not None:
        task = task.model_copy(update={"num_fewshot": options.num_fewshot})
    return HarnessTask(task, Documents(task, config.source.label, config.folder, data))


def _members(entry: str | dict[str, Any], group: Config) -> list[Config]:
    """Resolve an entry of a group: a task or group by name, by tag, or defined inline."""
    if isinstance(entry, str):
        tasks = tagged(entry, group.folder)
        return [find_task(name, group.folder) for name in tasks or [entry]]
    if "group" in entry or "dataset_path" in entry:  # defined inline
        return [Config(entry, group.source, group.folder)]
    if "include" in entry:
        base = read_config(group.folder / str(entry["include"]))
    elif isinstance(name := entry.get("task"), str):
        base = find_task(name, group.folder)
    else:
        raise InputError(f"{group.source.at(('task',))}: an entry must name its task.")
    changed = {key: value for key, value in entry.items() if key != "include"}
    return [Config({**base.values, **changed}, base.source, base.folder)]


def _entries(group: GroupConfig) -> Sequence[AverageConfig]:
    given = group.aggregate_metric_list
    return given if isinstance(given, list) else [given] if given is not None else []


def _averages(
    group: str, entry: AverageConfig, names: Sequence[str], scored: Mapping[str, TaskScores]
) -> list[Aggregate]:
    filters = entry.filter_list if isinstance(entry.filter_list, list) else [entry.filter_list]
    found = []
    for key in (_key(entry.metric, name) for name in filters):
        parts = [scored[n].scores[key] for n in names if n in scored and key in scored[n].scores]
        if parts and entry.weight_by_size:
            found.append(pooled(group, key, parts, len(names)))
        elif parts:
            found.append(mean(group, key, [[part] for part in parts], len(names)))
    return found


def _generation(task: TaskConfig) -> Generation:
    asked = task.generation_kwargs or GenerationConfig()
    until = task.fewshot_delimiter if asked.until is None else asked.until
    stops = [until] if isinstance(until, str) else until
    return Generation(asked.longest, tuple(stop for stop in stops if stop))


def _key(metric: str, name: str) -> str:
    return metric if name == _NONE else f"{metric},{name}"


def _likeliest(example: Example, reply: Reply) -> str:
    found = [f.log_probability for f in reply.likelihoods]
    return example.choices[found.index(max(found))]
