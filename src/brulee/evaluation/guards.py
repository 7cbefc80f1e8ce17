"""Guards: tasks that a run is not meant to improve, measured before and after it.

Any task of any suite can be one, by its name: common-knowledge, mmlu/marketing, glue/rte.
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
    """A task and the items that are asked of it."""

    task: SuiteTask
    examples: Sequence[Example]

    @property
    def metric(self) -> str:
        """The score that is compared: the task's main one."""
        return self.task.metrics[0]


def open_guards(
    names: Sequence[str], folders: Mapping[str, Path], limit: int | None, where: str = ""
) -> dict[str, Guard]:
    """The guards by name, their data read; `folders` holds the official files of a suite by name.

    A suite without a folder is read from the Hub. Raises InputError, naming `where`, for an
    unknown guard, and for a folder of a suite that does not exist.
    """
    for name in folders:
        suite(name)
    found = {}
    for name in names:
        task = _task(name, folders, where)
        found[name] = Guard(task, task.examples(limit))
    return found


def _task(name: str, folders: Mapping[str, Path], where: str) -> SuiteTask:
    of, slash, _ = name.partition("/")
    owner = of if slash and of in SUITES else BUNDLED
    opened = SUITES[owner].open(folders.get(owner), SUITES[owner].Options())
    tasks = {task.name: task for task in opened}
    if name not in tasks:
        suites = [f"{other}/TASK" for other in SUITES if other != BUNDLED]
        valid = tasks if owner != BUNDLED else [*tasks, *suites]
        raise unknown("guard", name, valid, where)
    return tasks[name]
