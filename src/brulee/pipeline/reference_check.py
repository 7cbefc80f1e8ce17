"""Checks for references that a metric cannot use or does not suit, before the model is run."""

from __future__ import annotations

from collections.abc import Sequence

from brulee.data.corpus import Corpus
from brulee.data.messages import CALLS
from brulee.data.packing import TOOLS
from brulee.data.task import Task
from brulee.data.template import Template
from brulee.errors import InputError
from brulee.evaluation.base import Metric
from brulee.evaluation.matching import says_final_answer
from brulee.pipeline.asked import Asked
from brulee.progress import note

_References = tuple[str, list[str]]  # the calls, as JSON text, and the texts
_SHORT = 5  # words of a reference that is an answer without reasoning


def check_references(corpus: Corpus, asked: Sequence[Asked]) -> None:
    """Raise InputError naming the first test or validation row that a metric refuses.

    Also raised for a metric of tool calls if rows have no tools. Notes a metric whose score would
    say little about these references.
    """
    for one in asked:
        task = corpus.tasks[one.test.path]
        for at, wording in enumerate(one.wordings):
            metrics = [metric for metric in wording.metrics if metric.refuses]
            _check_tools(task, metrics)
            if metrics or _named(wording.metrics, "final_answer"):
                found = [
                    _check_row(task, row, wording.template or one.test.template_of(row), metrics)
                    for row in one.rows
                ]
                if at == 0:
                    _say_unfit(one.name, wording.metrics, [row for row in found if row])
            for row in task.validation if metrics and at == 0 else ():
                _check_row(task, row, task.templates.templates[0], metrics)


def _say_unfit(name: str, metrics: Sequence[Metric], found: Sequence[_References]) -> None:
    calls = next((metric.keys[0] for metric in metrics if metric.against == "calls"), None)
    if calls and found and not any(called for called, _ in found):
        note(
            f"{name}: no scored answer calls a tool, so {calls} only says how often the model "
            "calls none. Of a chat, the last answer is scored: write a row for each answer to "
            "score calls, with a data.split.group that keeps the rows of one chat together."
        )
    texts = [text for _, own in found for text in own]
    reasoned = texts and all(len(text.split()) > _SHORT for text in texts)
    if _named(metrics, "final_answer") and reasoned and not any(map(says_final_answer, texts)):
        note(
            f"{name}: no reference says 'answer is', so final_answer compares whole texts, its "
            "reasoning too. Let the completion end with the answer: ... The answer is {{answer}}."
        )


def _named(metrics: Sequence[Metric], key: str) -> bool:
    return any(metric.keys[0] == key for metric in metrics)


def _check_row(
    task: Task, row: int, template: Template, metrics: Sequence[Metric]
) -> _References | None:
    """A row's references; None if it has none."""
    found = task.references(row, template)
    if found is None:
        return None
    rendered, texts = found
    called = rendered.answered_with.get(CALLS) or ""
    for metric in metrics:
        try:
            metric.check([called] if metric.against == "calls" else texts)
        except InputError as error:
            raise InputError(f"{task.rows.place(row)}: {error}") from None
    return called, texts


def _check_tools(task: Task, metrics: Sequence[Metric]) -> None:
    key = next((metric.keys[0] for metric in metrics if metric.against == "calls"), None)
    if key is not None and TOOLS not in task.rows.columns:
        raise InputError(
            f"{task.rows.label}: metric {key} judges the calls of chats with tools, and these rows "
            "have none; docs/data.md says how rows hold them."
        )
