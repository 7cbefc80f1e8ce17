"""A task's scores with intervals, from its answers, and a suite's averages, from these scores.

Shape legend: `N` items, `S` statistics of one item, `B` resamples.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from brulee.evaluation.answers import Answer, clusters, units
from brulee.evaluation.averages import Part, average
from brulee.evaluation.base import Array
from brulee.evaluation.resampling import TIE
from brulee.evaluation.shares import is_share
from brulee.evaluation.stats import Interval, bounds, limits, resampled
from brulee.evaluation.tasks import Aggregate, Scored, SuiteTask, TaskScores

RESAMPLES = 2000
_BY_CHANCE = 0.025  # the part of chance's scores beyond the lower bound of a 95% interval


def task_scores(
    task: SuiteTask, answers: Sequence[Answer], resamples: int = RESAMPLES
) -> TaskScores:
    """Every score of a task; leaves out a score that no item has (no published answers).

    Items of one cluster are resampled together.
    """
    found = {}
    for key in task.metrics:
        part = [a for a in answers if key in a.statistics]
        if part:
            found[key] = _scored(task, part, key, resamples)
    return TaskScores(task, found)


def mean(
    task: str, metric: str, parts: Sequence[Sequence[Scored]], of: int, label: str = "mean"
) -> Aggregate:
    """The macro average over tasks, each the mean of its scores, with its interval.

    `of` is the number of tasks in the official average.
    """
    several = [_part(scores) for scores in parts]
    value = float(np.mean([part.value for part in several]))
    items = sum(scores[0].interval.n for scores in parts)
    found = Interval(value, *average(several), items)
    return _aggregate(task, metric, label, found, len(parts), of)


def pooled(
    task: str, metric: str, scores: Sequence[Scored], of: int, label: str = "mean over items"
) -> Aggregate:
    """The micro average over all items of several tasks, with its interval; for mean scores."""
    counts = [float(score.interval.n) for score in scores]
    parts = [_part([score]) for score in scores]
    value = float(np.average([part.value for part in parts], weights=counts))
    found = Interval(value, *average(parts, counts), int(sum(counts)))
    return _aggregate(task, metric, label, found, len(scores), of)


def of_the_first(average: Aggregate, items: int) -> Aggregate:
    """Mark an average as measured on only so many `items` of a task."""
    label = f"{average.label}, only {items} items of a task"
    return replace(average, label=label, first=items)


def by_chance(value: float, chance_B: Array) -> bool:
    """Whether chance alone often scores as much, so that the bounds begin at 0."""
    return float((chance_B >= value - TIE).mean()) > _BY_CHANCE


def _aggregate(
    task: str, metric: str, label: str, found: Interval, tasks: int, of: int
) -> Aggregate:
    missing = "" if tasks == of else f", only {tasks} of {of} tasks"
    return Aggregate(task, metric, label + missing, found, tasks, of)


def _part(scores: Sequence[Scored]) -> Part:
    """One task's part of an average: the mean of its scores, which share their resamples."""
    value, low, high = np.mean([score.interval[:3] for score in scores], axis=0)
    resampled_B = np.mean([score.resampled for score in scores], axis=0)
    share = len(scores) == 1 and scores[0].share
    least = min(score.units for score in scores)
    lowest, highest = np.mean([score.limits for score in scores], axis=0)
    return Part(
        float(value), float(low), float(high), resampled_B, least, share,
        (float(lowest), float(highest)),
    )  # fmt: skip


def _scored(task: SuiteTask, answers: Sequence[Answer], key: str, resamples: int) -> Scored:
    reduce = partial(task.reduce, key)
    stats_NS = np.array([a.statistics[key] for a in answers], dtype=np.float64)
    of = clusters(answers)
    # The scores of one task share their resamples; different tasks are independent.
    draws_B = resampled(stats_NS, reduce, resamples, zlib.crc32(task.name.encode()), of)
    value = float(reduce(stats_NS.mean(axis=0), float(len(stats_NS))))
    low, high = bounds(stats_NS, reduce, draws_B, of)
    chance_B = task.by_chance(key, stats_NS, resamples)
    if chance_B is not None and by_chance(value, chance_B):
        low = 0.0
    found = Interval(value, low, high, len(stats_NS))
    share, possible = is_share(reduce, stats_NS), limits(reduce, stats_NS)
    return Scored(found, stats_NS, draws_B, units(answers), share, possible)
