"""Solvers that need no model: replies made up for a task's examples, scored as the runner does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest

from brulee.evaluation.asking import Asked
from brulee.evaluation.scores import task_scores
from brulee.evaluation.suite_run import answered
from brulee.evaluation.tasks import Answered, Example, Reply, SuiteTask, TaskScores
from brulee.inference.engine import Likelihood

Solver = Callable[[Example], Reply]


class Solvers:
    """What tests of suites ask of a task instead of a model."""

    @staticmethod
    def choosing(chosen: Collection[int], count: int) -> Reply:
        """A reply that finds these of so many choices likely."""
        found = [Likelihood(-1.0 if i in chosen else -9.0, 1, False) for i in range(count)]
        return Reply(tuple(found))

    @classmethod
    def gold(cls, example: Example) -> Reply:
        """The right answer, as the example itself says."""
        right = example.about["gold"]
        if not example.choices:
            return Reply(text=right)
        chosen = right if isinstance(right, list) else [right]
        return cls.choosing(chosen, len(example.choices))

    @classmethod
    def constant(cls, index: int) -> Solver:
        """Always the same choice."""
        return lambda example: cls.choosing([index], len(example.choices))

    @staticmethod
    def solve(task: SuiteTask, solver: Solver, limit: int | None = None) -> Answered:
        """A task's examples answered by a solver."""
        examples = task.examples(limit)
        judged = [task.judge(example, solver(example)) for example in examples]
        return Answered(task, examples, task.join(examples, judged))

    @staticmethod
    def scores(found: Answered, resamples: int = 50) -> TaskScores:
        """What the runner makes of it."""
        answers = [
            answered(found.task, Asked(example, (), (), None, 0), Reply(), judged)
            for example, judged in zip(found.examples, found.judged, strict=True)
        ]
        return task_scores(found.task, answers, resamples)

    @classmethod
    def score_all(cls, tasks: Sequence[SuiteTask], solver: Solver) -> dict[str, TaskScores]:
        """Every task's scores under one solver."""
        return {task.name: cls.scores(cls.solve(task, solver)) for task in tasks}

    @classmethod
    def values(cls, task: SuiteTask, solver: Solver) -> dict[str, float]:
        """A task's score values by metric under one solver."""
        found = cls.scores(cls.solve(task, solver))
        return {key: one.interval.value for key, one in found.scores.items()}


@pytest.fixture(scope="session")
def solvers() -> type[Solvers]:
    return Solvers


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The small files in the benchmarks' own formats."""
    return Path(__file__).parents[3] / "fixtures"
