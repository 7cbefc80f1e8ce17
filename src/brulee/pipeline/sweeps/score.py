"""Scores of a trained trial on the validation rows, by a metric of the recipe."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

from brulee.data.corpus import Corpus
from brulee.data.messages import CALLS
from brulee.data.task import Task
from brulee.errors import InputError, unknown
from brulee.evaluation.answering import answer_items
from brulee.evaluation.answers import statistics_array
from brulee.evaluation.base import Metric
from brulee.evaluation.stats import interval
from brulee.inference.session import open_engine
from brulee.models.context import context_length
from brulee.pipeline.folder import open_run
from brulee.pipeline.generating import sampling_of
from brulee.pipeline.preparation import Prepared, prepare
from brulee.pipeline.storing import from_disk
from brulee.pipeline.task_metrics import task_metrics
from brulee.pipeline.trained import Tuned, ended
from brulee.recipe import Recipe
from brulee.reporting.sweep_results import LOSS


def higher_is_better(recipe: Recipe, corpus: Corpus, objective: str) -> bool:
    """Whether a higher objective is better.

    Raises InputError for one that is neither the loss nor a score of every task's metrics, and for
    a score that only describes.
    """
    if objective == LOSS:
        return False
    measured = {path: metrics for path, metrics in task_metrics(recipe, corpus).items()
                if path in corpus.trained}  # fmt: skip
    keys = {path: {key for m in one for key in m.keys} for path, one in measured.items()}
    judging = {k for one in measured.values() for m in one if not m.descriptive for k in m.keys}
    shared = set.intersection(*keys.values()) & judging
    lacking = [path for path, own in keys.items() if objective not in own]
    if lacking and len(lacking) < len(keys):
        valid = ", ".join(sorted([LOSS, *shared]))
        raise InputError(
            f"--objective: {objective} is not a score of {lacking[0]}, and a sweep chooses by one "
            f"of every task. Valid: {valid}."
        )
    if lacking:
        raise unknown("objective", objective, [LOSS, *shared], "--objective")
    if objective not in judging:
        raise InputError(
            f"--objective: neither a high nor a low {objective} is better, so no setting can be "
            f"chosen by it. Valid: {', '.join(sorted([LOSS, *shared]))}."
        )
    return _metric(next(iter(measured.values())), objective).higher_is_better(objective)


def check_part(recipe: Recipe, corpus: Corpus, objective: str) -> None:
    """Raise InputError if no validation row of a task can count towards an objective.

    A row counts if its right answer or an empty one has such a score.
    """
    if objective == LOSS:
        return
    for path, metrics in task_metrics(recipe, corpus).items():
        task = corpus.tasks[path]
        if path not in corpus.trained or not task.validation:
            continue
        metric = _metric(metrics, objective)
        if metric.asks != "text" or metric.against == "source":
            continue  # every row counts, or the answer alone decides
        if not any(_has_part(task, row, metric, objective) for row in task.validation):
            raise _without_part(path, objective)


def _has_part(task: Task, row: int, metric: Metric, key: str) -> bool:
    found = task.references(row, task.templates.templates[0])
    if found is None:
        return False
    rendered, texts = found
    right = [rendered.answered_with.get(CALLS) or ""] if metric.against == "calls" else texts
    return any(key in metric.statistics(answer, right) for answer in (right[0], ""))


def _without_part(path: str, key: str) -> InputError:
    return InputError(f"{path}: no validation row counts towards {key}; choose by another score.")


def validation_score(recipe: Recipe, run: Path, key: str) -> float:
    """The mean over tasks of the scores of a run's weights on validation rows.

    Answers are kept in eval/validation, from which an interrupted scoring continues.
    """
    where = open_run(recipe, "train", run, fresh=False)
    known = ended(where)
    assert known is not None, "a trial is scored when it was trained"
    prepared, tuned = from_disk(prepare(where, begin=False), known)
    scores = [_score(prepared, tuned, path, key) for path in prepared.corpus.trained]
    return math.fsum(scores) / len(scores)


def _score(prepared: Prepared, tuned: Tuned, path: str, key: str) -> float:
    spec, task = prepared.recipe.evaluate, prepared.corpus.tasks[path]
    encoder = prepared.encoder_for(tuned.attached)
    context = context_length(prepared.base.model)
    reserved = tuned.attached.reserved + spec.generation.max_new_tokens
    room = None if context is None else context - reserved
    made = (task.item(row, encoder, room) for row in task.validation)
    items = [item for item in made if item is not None]
    if not items:
        raise InputError(f"{path}: no validation row fits the model's context to be answered.")
    answers = answer_items(
        open_engine(prepared.base, encoder, spec.batch_tokens, tuned.attached),
        encoder,
        items,
        prepared.metrics[path],
        sampling_of(prepared.recipe, prepared.base.tokenizer),
        task=path,
        file=prepared.where.answers("validation", path),
        title=f"Validation rows: {path}",
    )
    metric = _metric(prepared.metrics[path], key)
    own_NS = statistics_array(answers, key)
    if not len(own_NS):
        raise _without_part(path, key)
    stats_NS = metric.join(key, own_NS)
    return interval(stats_NS, partial(metric.reduce, key), resamples=1).value


def _metric(metrics: tuple[Metric, ...], key: str) -> Metric:
    return next(metric for metric in metrics if key in metric.keys)
