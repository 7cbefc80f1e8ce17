"""What a sweep found, stored as sweep.json: its trials, the chosen one, the test of it."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from scipy import stats

from brulee.errors import InputError
from brulee.reporting.record_files import load, store
from brulee.reporting.results import Comparison, Record

SCHEMA = 1
FILE_NAME = "sweep.json"
LOSS = "validation_loss"

State = Literal["complete", "pruned", "failed", "running"]


class Trial(Record):
    """One setting and what came of it.

    `settings` are the axes' values and `own` the recipe's setting, which may lie beside the axes:
    it then has no `settings`, and `had` is what the recipe has there. `values` has one a seed,
    `value` their mean. `curve` are the validation losses of the first seed, by step. `reason` says
    why a trial was pruned or failed.
    """

    number: int
    run: str
    own: bool
    state: State
    settings: dict[str, Any]
    had: dict[str, Any] = Field(default_factory=dict)
    method: str
    learning_rate: float
    values: tuple[float, ...] = ()
    value: float | None = None
    seconds: float = 0.0
    reason: str | None = None
    curve: tuple[tuple[int, float], ...] = ()

    @property
    def along(self) -> dict[str, Any]:
        """Its values along the axes, whether they are among those that were to be tried or not."""
        return self.settings or self.had


class Lead(Record):
    """How far the best is ahead of the runner-up, seed by seed: positive is better.

    With the 95% interval of the mean over seeds (Student's t), None for one seed.
    """

    runner_up: int
    by: float
    low: float | None
    high: float | None

    @property
    def clear(self) -> bool | None:
        """Whether it is more than seeds do; None where that is not known."""
        return None if self.low is None else self.low > 0


class BeforeAfter(Record):
    """A trial that was scored on the test rows: the base against it, as in its results.json."""

    run: str
    comparisons: tuple[Comparison, ...]


class Sweep(Record):
    """All of a sweep. `tested` has the chosen trial and, if that is another, the recipe's own.

    `test` compares the two on the same test items: `base` is the recipe's own, `tuned` the chosen.
    `tested_before` are trials that were chosen and tested before there were more.
    """

    schema_version: int = SCHEMA
    name: str
    base: str
    objective: str
    higher_is_better: bool
    axes: tuple[str, ...]
    sampler: Literal["grid", "tpe"]
    planned: int
    seeds: int
    validation_rows: int
    trials: tuple[Trial, ...]
    chosen: int | None = None
    tested: tuple[BeforeAfter, ...] = ()
    test: tuple[Comparison, ...] = ()
    tested_before: tuple[int, ...] = ()
    command: str = ""
    stopped: str | None = None

    @property
    def ranked(self) -> list[Trial]:
        """The complete trials, the best first."""
        sign = -1.0 if self.higher_is_better else 1.0
        done = [trial for trial in self.trials if trial.value is not None]
        return sorted(done, key=lambda trial: (sign * (trial.value or 0.0), trial.number))

    @property
    def compared(self) -> int:
        """How many settings the best was the best of: those that were ended early, too."""
        return sum(trial.state in ("complete", "pruned") for trial in self.trials)

    @property
    def best(self) -> Trial | None:
        """The best complete trial by the validation rows."""
        return next(iter(self.ranked), None)

    @property
    def own(self) -> Trial | None:
        """The recipe's own setting."""
        return next((trial for trial in self.trials if trial.own), None)

    @property
    def lead(self) -> Lead | None:
        """The best against the runner-up; None where only one trial is complete."""
        if len(self.ranked) < 2:
            return None
        best, second = self.ranked[:2]
        sign = 1.0 if self.higher_is_better else -1.0
        gaps = [sign * (a - b) for a, b in zip(best.values, second.values, strict=True)]
        by = statistics.fmean(gaps)
        if len(gaps) < 2:
            return Lead(runner_up=second.number, by=by, low=None, high=None)
        reach = float(stats.t.ppf(0.975, len(gaps) - 1))
        half = reach * statistics.stdev(gaps) / math.sqrt(len(gaps))
        return Lead(runner_up=second.number, by=by, low=by - half, high=by + half)

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds, pooled over the trials; None for one seed."""
        variances = [statistics.variance(t.values) for t in self.ranked if len(t.values) > 1]
        return math.sqrt(statistics.fmean(variances)) if variances else None


def write(found: Sweep, folder: Path) -> Path:
    """Write sweep.json in one step; returns its path."""
    return store(found, folder / FILE_NAME)


def read(folder: Path) -> Sweep:
    """The sweep in a folder. Raises InputError where there is none, or its file is malformed."""
    file = folder / FILE_NAME
    if not file.is_file():
        raise InputError(f"{folder}: no sweep is here; a sweep's folder holds {FILE_NAME}.")
    return load(Sweep, file, SCHEMA)
