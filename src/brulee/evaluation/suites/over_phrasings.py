"""A task in several phrasings of the template library: the mean score, and each phrasing's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, final

import numpy as np

from brulee.data.phrasings import alike, wording
from brulee.data.template import Template
from brulee.data.templates import library
from brulee.errors import InputError
from brulee.evaluation.base import Array
from brulee.evaluation.suites.labels import LabelTask
from brulee.evaluation.suites.similarity import GRADES, Similarity
from brulee.evaluation.tasks import UNDER, Example, Judged, Reply, SuiteTask

Asked = tuple[Example, Mapping[str, Any]]  # the item without phrasings, the templates' columns


@final
class OverPhrasings(SuiteTask):
    """The items of a task, each in several phrasings of a template family.

    A score is the mean over phrasings, and resampling draws an item with all its phrasings; there
    is also a score "accuracy@NAME" for each phrasing. `load(limit)` returns the items with the
    family's columns except `label`, which is a label's index or a similarity grade. Raises
    InputError for a row to which a phrasing does not apply.
    """

    def __init__(
        self,
        task: LabelTask | Similarity,
        family: str,
        load: Callable[[int | None], list[Asked]],
        phrasings: int | Literal["all"],
    ) -> None:
        self._task, self._load = task, load
        templates = library()[family].templates
        found = alike(templates, templates[0])
        if isinstance(task, LabelTask):
            found = tuple(t for t in found if t.answer_choices is not None)
        self._answers = (
            range(len(task.labels)) if isinstance(task, LabelTask) else tuple(map(float, GRADES))
        )
        self._templates = found if phrasings == "all" else found[:phrasings]
        self.name, self.wording = task.name, wording(self._templates)
        each = (f"{key}{UNDER}{t.name}" for key in task.metrics for t in self._templates)
        self.metrics = (*task.metrics, *each)

    def examples(self, limit: int | None = None) -> list[Example]:
        """Every item in every phrasing, item by item."""
        return [
            self._example(item, columns, template)
            for item, columns in self._load(limit)
            for template in self._templates
        ]

    def judge(self, example: Example, reply: Reply) -> Judged:
        """The task's scores, named after the phrasing."""
        return _named(self._task.judge(example, reply), example.about["phrasing"])

    def join(self, examples: Sequence[Example], judged: Sequence[Judged]) -> list[Judged]:
        """Join each phrasing as the task does, and store an item's overall scores on its first."""
        found, count = list(judged), len(self._templates)
        for k, template in enumerate(self._templates):
            alone = [_unnamed(one) for one in found[k::count]]
            joined = self._task.join(examples[k::count], alone)
            found[k::count] = [_named(one, template.name) for one in joined]
        for at in range(0, len(found), count):
            first, every = found[at], found[at : at + count]
            statistics = {k: v for one in every for k, v in one.statistics.items()}
            over = {
                key: [v for t in self._templates for v in statistics[f"{key}{UNDER}{t.name}"]]
                for key in self._task.metrics
                if statistics
            }
            found[at] = Judged(first.output, {**over, **first.statistics})
        return found

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """The task's score of one phrasing, or its mean over phrasings."""
        plain, under, _ = key.partition(UNDER)
        if under:
            return self._task.reduce(plain, mean_S, items)
        parts = np.split(np.asarray(mean_S, dtype=np.float64), len(self._templates), axis=-1)
        mean: Array = np.mean([self._task.reduce(plain, part, items) for part in parts], axis=0)
        return mean

    def higher_is_better(self, key: str) -> bool:
        """As in the underlying task."""
        return self._task.higher_is_better(key.partition(UNDER)[0])

    def _example(self, item: Example, columns: Mapping[str, Any], template: Template) -> Example:
        """An item rendered with a template; its choices are the completions for each label."""
        asked = [template.render({**columns, "label": k}) for k in self._answers]
        rendered = [one for one in asked if one is not None and one.completion]
        if len(rendered) < len(asked) or len({one.prompt for one in rendered}) > 1:
            raise InputError(
                f"{self.name}, item {item.id}: template {template.name!r} does not apply to it; "
                "ask in fewer phrasings (the first N of `brulee templates show`)."
            )
        return replace(
            item,
            id=f"{item.id}{UNDER}{template.name}",
            question=rendered[0].prompt,
            choices=tuple(f" {one.completion}" for one in rendered),
            about={**item.about, "phrasing": template.name},
        )


def _named(one: Judged, phrasing: str) -> Judged:
    named = {f"{key}{UNDER}{phrasing}": values for key, values in one.statistics.items()}
    return Judged(one.output, named)


def _unnamed(one: Judged) -> Judged:
    plain = {key.partition(UNDER)[0]: values for key, values in one.statistics.items()}
    return Judged(one.output, plain)


def check_one_phrasing(examples: Mapping[str, Sequence[Example]]) -> None:
    """Raise InputError if items for a leaderboard have several phrasings."""
    for task, found in examples.items():
        count = len({example.about.get("phrasing") for example in found})
        if count > 1:
            raise InputError(
                f"--bundle: the leaderboard takes one answer an item, and {task} is asked in "
                f"{count} phrasings; leave phrasings out, or set it to 1."
            )


def over_all(scores: Mapping[str, Any]) -> list[Any]:
    """The scores of a task without those of single phrasings."""
    return [score for key, score in scores.items() if UNDER not in key]
