"""Checks for references that a metric cannot use, before the model is run."""

from __future__ import annotations

from collections.abc import Sequence

from brulee.data.corpus import Corpus
from brulee.data.messages import CALLS
from brulee.data.packing import TOOLS
from brulee.data.task import Task
from brulee.data.template import Template
from brulee.errors import InputError
from brulee.evaluation.base import Metric
from brulee.pipeline.asked import Asked


def check_references(corpus: Corpus, asked: Sequence[Asked]) -> None:
    """Raise InputError naming the first test or validation row that a metric refuses.

    Also raised for a metric of tool calls if rows have no tools.
    """
    for one in asked:
        task = corpus.tasks[one.test.path]
        for at, wording in enumerate(one.wordings):
            metrics = [metric for metric in wording.metrics if metric.refuses]
            _check_tools(task, metrics)
            for row in one.rows if metrics else ():
                _check_row(task, row, wording.template or one.test.template_of(row), metrics)
            for row in task.validation if metrics and at == 0 else ():
                _check_row(task, row, task.templates.templates[0], metrics)


def _check_row(task: Task, row: int, template: Template, metrics: Sequence[Metric]) -> None:
    found = task.references(row, template)
    if found is None:
        return
    rendered, texts = found
    called = rendered.answered_with.get(CALLS) or ""
    for metric in metrics:
        try:
            metric.check([called] if metric.against == "calls" else texts)
        except InputError as error:
            raise InputError(f"{task.rows.place(row)}: {error}") from None


def _check_tools(task: Task, metrics: Sequence[Metric]) -> None:
    key = next((metric.keys[0] for metric in metrics if metric.against == "calls"), None)
    if key is not None and TOOLS not in task.rows.columns:
        raise InputError(
            f"{task.rows.name}: metric {key} judges the calls of chats with tools, and these rows "
            "have none; docs/data.md says how rows hold them."
        )
