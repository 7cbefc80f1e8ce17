"""A label task in the phrasings of the template library: their mean, and the score of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, final

import numpy as np

from brulee.data.phrasings import alike
from brulee.data.template import Template
from brulee.data.templates import library
from brulee.errors import InputError
from brulee.evaluation.base import Array
from brulee.evaluation.suites.labels import LabelTask
from brulee.evaluation.tasks import UNDER, Example, Judged, Reply, SuiteTask

Asked = tuple[Example, Mapping[str, Any]]  # an item as it is asked otherwise, a template's columns


@final
class OverPhrasings(SuiteTask):
    """The items of a label task, each asked in several phrasings of a library family.

    A score is the mean over phrasings, and what is drawn is an item with all of them; beside it
    stands "accuracy@NAME" for each. `load(limit)` gives the items with the columns that the family
    reads but for `label`, which numbers the task's labels. Raises InputError for a row to which a
    phrasing does not apply.
    """

    def __init__(
        self,
        labels: LabelTask,
        family: str,
        load: Callable[[int | None], list[Asked]],
        phrasings: int | Literal["all"],
    ) -> None:
        self._labels, self._load = labels, load
        templates = library()[family].templates
        found = [t for t in alike(templates, templates[0]) if t.answer_choices is not None]
        self._templates = found if phrasings == "all" else found[:phrasings]
        self.name = labels.name
        each = (f"{key}{UNDER}{t.name}" for key in labels.metrics for t in self._templates)
        self.metrics = (*labels.metrics, *each)

    def examples(self, limit: int | None = None) -> list[Example]:
        """Every item in every phrasing, one item after the other."""
        return [
            self._example(item, columns, template)
            for item, columns in self._load(limit)
            for template in self._templates
        ]

    def judge(self, example: Example, reply: Reply) -> Judged:
        """As the label task does, under the names of the phrasing's scores."""
        found = self._labels.judge(example, reply)
        phrasing = example.about["phrasing"]
        named = {f"{key}{UNDER}{phrasing}": values for key, values in found.statistics.items()}
        return Judged(found.output, named)

    def join(self, examples: Sequence[Example], judged: Sequence[Judged]) -> list[Judged]:
        """With what an item counts over its phrasings at the first of them."""
        del examples
        found, count = list(judged), len(self._templates)
        for at in range(0, len(found), count):
            first, every = found[at], found[at : at + count]
            statistics = {k: v for one in every for k, v in one.statistics.items()}
            over = {
                key: [v for t in self._templates for v in statistics[f"{key}{UNDER}{t.name}"]]
                for key in self._labels.metrics
                if statistics
            }
            found[at] = Judged(first.output, {**over, **first.statistics})
        return found

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """As the label task has it, averaged over phrasings unless it is the score of one."""
        plain, under, _ = key.partition(UNDER)
        if under:
            return self._labels.reduce(plain, mean_S, items)
        parts = np.split(np.asarray(mean_S, dtype=np.float64), len(self._templates), axis=-1)
        mean: Array = np.mean([self._labels.reduce(plain, part, items) for part in parts], axis=0)
        return mean

    def higher_is_better(self, key: str) -> bool:
        """As the label task has it."""
        return self._labels.higher_is_better(key.partition(UNDER)[0])

    def _example(self, item: Example, columns: Mapping[str, Any], template: Template) -> Example:
        """An item as a template phrases it; its choices are the answers for each label in turn."""
        asked = [template.render({**columns, "label": k}) for k in range(len(self._labels.labels))]
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


def over_all(scores: Mapping[str, Any]) -> list[Any]:
    """The scores of a task without those of its single phrasings."""
    return [score for key, score in scores.items() if UNDER not in key]
