"""Evaluation of a model, an adapter or a run on a suite: replies from cache or model, scores."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from brulee import progress
from brulee.errors import InputError
from brulee.evaluation.answers import Answer
from brulee.evaluation.efficiency import Efficiency
from brulee.evaluation.scores import RESAMPLES, of_the_first, task_scores
from brulee.evaluation.stats import Interval
from brulee.evaluation.suite_options import suite_options
from brulee.evaluation.suite_run import Model, answer
from brulee.evaluation.suites import suite as suite_of
from brulee.evaluation.tasks import (
    Aggregate,
    Answered,
    Example,
    Judged,
    Suite,
    SuiteTask,
    TaskScores,
)
from brulee.inference.session import Session, check_target, open_session
from brulee.methods.adapter_files import config_digest, tensors_digest
from brulee.models.bundled import cache_folder
from brulee.models.context import context_length
from brulee.pipeline.evaluated_speed import speed_of
from brulee.pipeline.lock import file_lock
from brulee.recipe import Strict
from brulee.reporting import notebook, suite_scores, terminal
from brulee.reporting.tables import TableRows


@dataclass(frozen=True)
class EvaluatedModel:
    """The evaluated model: its base, whether it is tuned or has a chat template, its brulee.json.

    The model itself is not referenced, so that scores of many models fit into memory.
    """

    base: str
    digest: str
    tuned: bool
    template: bool
    record: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Evaluation:
    """One model's results on a suite; `answers` and `scored` are by task name.

    A notebook shows the scores as HTML, `print` as on the command line.
    """

    target: str
    suite: Suite
    options: Strict
    limit: int | None
    chat: bool
    asked: EvaluatedModel = field(repr=False)
    examples: Mapping[str, list[Example]] = field(repr=False)
    answers: Mapping[str, list[Answer]] = field(repr=False)
    scored: Mapping[str, TaskScores] = field(repr=False)
    efficiency: Efficiency | None = None

    def __str__(self) -> str:
        """A heading, and the table that the command line prints."""
        return f"{self._of}\n{terminal.printed(self.table.show)}"

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        return notebook.suite_html(self._of, self.table)

    @property
    def _of(self) -> str:
        items = "" if self.limit is None else f", at most {self.limit} items of each task"
        return f"{self.suite.name} of {self.target}{items}"

    @property
    def table(self) -> TableRows:
        """The scores and averages as text: a header, and a row for each."""
        return suite_scores.table(self.scored, self.aggregates)

    @property
    def scores(self) -> list[dict[str, Any]]:
        """A mapping per metric of each task and per average: rows of a table."""
        found = [
            {"task": task, "metric": key, **_numbers(one.interval)}
            for task, scores in self.scored.items()
            for key, one in scores.scores.items()
        ]
        averages = [
            {"task": one.task, "metric": one.metric, **_numbers(one.interval)}
            for one in self.aggregates
        ]
        return [*found, *averages]

    @cached_property
    def aggregates(self) -> list[Aggregate]:
        """The suite's averages."""
        found = self.suite.aggregates(self.scored)
        limit = self.limit
        # A task with `limit` items may have more, which were not counted.
        if limit is None or all(rows_of(examples) < limit for examples in self.examples.values()):
            return found
        return [of_the_first(average, limit) for average in found]

    @cached_property
    def bundle(self) -> dict[str, str]:
        """The leaderboard's files, name to content."""
        return self.suite.bundle(
            {
                name: Answered(
                    scores.task,
                    self.examples[name],
                    [Judged(a.output, a.statistics) for a in self.answers[name]],
                )
                for name, scores in self.scored.items()
            }
        )


def rows_of(examples: Sequence[Example]) -> int:
    """The number of items, each of which may appear in several phrasings."""
    return len(examples) // max(1, len({one.about.get("phrasing") for one in examples}))


def evaluate(
    target: str | os.PathLike[str],
    suite: str,
    data: str | Path | None = None,
    *,
    limit: int | None = None,
    options: Mapping[str, Any] | None = None,
    chat: bool = False,
    base: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    resamples: int = RESAMPLES,
    bundle: bool = False,
) -> Evaluation:
    """Score a model, an adapter or a run on a suite, with the official files under `data`.

    Without `data`, the Hub's copy is used. `limit` takes so many items of every task, the first or
    those that the suite's own package draws, `options` are the suite's, `chat` applies the model's
    chat template to every prompt. Replies are cached by model, adapter, task and request. With
    `bundle`, the items must be those that the suite's leaderboard accepts.
    Raises InputError for an unknown suite or option, missing or malformed files, a wrong target,
    or a number below 1.
    """
    for name, count in (("limit", limit), ("resamples", resamples)):
        if count is not None and count < 1:
            raise InputError(f"{name} = {count!r} is not valid: it should be 1 or more.")
    found = suite_of(suite)
    checked = suite_options(found, options or {})
    check_target(target)  # before the suite's files, which may have to be downloaded
    tasks = found.open(Path(data) if data is not None else None, checked)
    if not tasks:
        raise InputError(f"suite {suite}: none of its files are in {data}.")
    examples = {task.name: task.examples(limit) for task in tasks}
    if bundle:
        found.check_bundle(examples)
    session = open_session(target, device=device, precision=precision, base=base)
    answers = _answers(tasks, examples, session, chat)
    scored = {task.name: task_scores(task, answers[task.name], resamples) for task in tasks}
    efficiency = speed_of(session, examples, replies_folder(session)) if found.timed else None
    return Evaluation(
        os.fspath(target),
        found,
        checked,
        limit,
        chat,
        _asked(session),
        examples,
        answers,
        scored,
        efficiency,
    )


def _asked(session: Session) -> EvaluatedModel:
    tuned = session.attached is not None or bool(session.record)
    template = session.encoder.chat
    return EvaluatedModel(session.base.name, session.base.digest, tuned, template, session.record)


def identity(session: Session) -> str:
    """Identifies everything that a reply depends on except the request.

    These are the weights, the adapter, the precision, the device type, the tokens that end an
    answer and those barred from it, how positions are scaled, and between which languages is
    translated.
    """
    attached = session.attached
    adapter = ""
    if attached is not None:
        adapter = tensors_digest(attached.tensors()) + config_digest(attached.config())
    model = session.base.model
    parts = [session.base.digest, adapter, str(model.dtype), session.base.device.type]
    parts.append(repr(sorted(session.engine.stop_ids)))
    if session.engine.barred:
        parts.append(repr(session.engine.barred))
    for held in (session.base.rope_scaling, session.base.languages):
        if held is not None:
            parts.append(json.dumps(held, sort_keys=True))
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:32]


def replies_folder(session: Session) -> Path:
    """The folder of this model's cached replies."""
    return cache_folder() / "evaluations" / identity(session)


def _answers(
    tasks: list[SuiteTask],
    examples: Mapping[str, list[Example]],
    session: Session,
    chat: bool,
) -> dict[str, list[Answer]]:
    context = context_length(session.base.model)
    reserved = session.attached.reserved if session.attached else 0
    room = None if context is None else context - reserved
    model = Model(session.engine, session.encoder, room, "chat" if chat else None)
    kept = replies_folder(session)
    found = {}
    for task in tasks:
        file = kept / f"{_file_name(task.name)}.jsonl"
        with file_lock(file, partial(_say_waiting, task.name)):
            found[task.name] = answer(task, examples[task.name], model, file, task.name)
    return found


def _numbers(found: Interval) -> dict[str, float | int]:
    return {"value": found.value, "low": found.low, "high": found.high, "items": found.n}


def _say_waiting(task: str) -> None:
    progress.note(f"{task}: another evaluation is asking this model; waiting for its replies.")


def _file_name(task: str) -> str:
    return task.replace("/", "-").replace(" ", "-")
