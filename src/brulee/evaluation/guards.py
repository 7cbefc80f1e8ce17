"""Guards: tasks that a run is not meant to improve, measured before and after training.

Any task of any suite can be a guard, by its name: common-knowledge, mmlu/marketing, ifeval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from brulee.errors import unknown
from brulee.evaluation.suites import SUITES, suite
from brulee.evaluation.tasks import Example, SuiteTask

BUNDLED = "bundled"


@dataclass(frozen=True)
class Guard:
    """A task and the items to evaluate."""

    task: SuiteTask
    examples: Sequence[Example]

    @property
    def metric(self) -> str:
        """The score that is compared: the task's main metric."""
        return self.task.metrics[0]


def open_guards(
    names: Sequence[str], folders: Mapping[str, Path], limit: int | None, where: str = ""
) -> dict[str, Guard]:
    """Load guards by name; `folders` maps a suite's name to the folder of its official files.

    A suite without a folder is read from the Hub. Raises InputError for an unknown guard, naming
    `where`, and for a folder given for an unknown suite.
    """
    for name in folders:
        suite(name)
    found = {}
    for name in names:
        task = _task(name, folders, where)
        found[name] = Guard(task, task.examples(limit))
    return found


def _task(name: str, folders: Mapping[str, Path], where: str) -> SuiteTask:
    of = name.partition("/")[0]
    owner = of if of in SUITES else BUNDLED
    opened = SUITES[owner].open(folders.get(owner), SUITES[owner].Options())
    tasks = {task.name: task for task in opened}
    if name not in tasks:
        others = [
            other if one.single else f"{other}/TASK"
            for other, one in SUITES.items()
            if other != BUNDLED
        ]
        valid = tasks if owner != BUNDLED else [*tasks, *others]
        raise unknown("guard", name, valid, where)
    return tasks[name]
