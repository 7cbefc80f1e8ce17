"""From a task's answers to its scores with intervals, and from these to a suite's averages.

Shape legend: `N` items, `S` statistics of one item, `B` resamples.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from brulee.evaluation.answers import Answer
from brulee.evaluation.base import Array
from brulee.evaluation.stats import Interval, Reduce, resampled
from brulee.evaluation.tasks import Aggregate, Scored, SuiteTask, TaskScores

RESAMPLES = 2000


def task_scores(
    task: SuiteTask, answers: Sequence[Answer], resamples: int = RESAMPLES
) -> TaskScores:
    """Every score of a task; one that no item takes part in (no published answers) is left out.

    Items of one cluster are resampled together.
    """
    found = {}
    for key in task.metrics:
        part = [a for a in answers if key in a.statistics]
        if part:
            reduce = partial(task.reduce, key)
            found[key] = _scored(task.name, part, key, reduce, resamples)
    return TaskScores(task, found)


def clusters(answers: Sequence[Answer]) -> list[str] | None:
    """The cluster of each answer, by default the item itself; None where no item names one."""
    if not any(a.cluster for a in answers):
        return None
    return [a.cluster or f"item {a.id}" for a in answers]


def mean(
    task: str, metric: str, parts: Sequence[Sequence[Scored]], of: int, label: str = "mean"
) -> Aggregate:
    """The unweighted mean over tasks (macro), each the mean of its scores, with its interval.

    `of` is how many tasks the official average has.
    """
    value = np.mean([np.mean([s.interval.value for s in scores]) for scores in parts])
    draws_B = np.mean([np.mean([s.resampled for s in scores], axis=0) for scores in parts], axis=0)
    items = sum(scores[0].interval.n for scores in parts)
    return _aggregate(task, metric, label, _interval(float(value), draws_B, items), len(parts), of)


def pooled(
    task: str, metric: str, scores: Sequence[Scored], of: int, label: str = "mean over items"
) -> Aggregate:
    """The mean over all items of several tasks (micro), with its interval; for mean scores only."""
    counts = np.array([s.interval.n for s in scores], dtype=np.float64)
    weights = counts / counts.sum()
    value = float(weights @ [s.interval.value for s in scores])
    draws_B = weights @ np.array([s.resampled for s in scores])
    found = _interval(value, draws_B, int(counts.sum()))
    return _aggregate(task, metric, label, found, len(scores), of)


def of_the_first(average: Aggregate, items: int) -> Aggregate:
    """An average for which only the first so many items of a task were asked."""
    label = f"{average.label}, only {items} items of a task"
    return replace(average, label=label, first=items)


def _aggregate(
    task: str, metric: str, label: str, found: Interval, tasks: int, of: int
) -> Aggregate:
    missing = "" if tasks == of else f", only {tasks} of {of} tasks"
    return Aggregate(task, metric, label + missing, found, tasks, of)


def _interval(value: float, draws_B: Array, items: int) -> Interval:
    low, high = np.quantile(draws_B, [0.025, 0.975])
    return Interval(value, float(low), float(high), items)


def _scored(
    name: str, answers: Sequence[Answer], key: str, reduce: Reduce, resamples: int
) -> Scored:
    stats_NS = np.array([a.statistics[key] for a in answers], dtype=np.float64)
    # Tasks are resampled independently of each other, the scores of one task together.
    draws_B = resampled(stats_NS, reduce, resamples, zlib.crc32(name.encode()), clusters(answers))
    value = float(reduce(stats_NS.mean(axis=0), float(len(stats_NS))))
    return Scored(_interval(value, draws_B, len(stats_NS)), stats_NS, draws_B)
