"""A sweep's results, stored as sweep.json: trials, the chosen trial, its test scores."""

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
    """One setting and its outcome.

    `settings` are the values along the axes. `own` marks the recipe's own setting; if it is not on
    the axes, `settings` is empty and `had` has its values there. `values` has one score per seed,
    `value` is their mean. `curve` has the validation losses of the first seed, by step. `reason`
    says why a trial was pruned or failed.
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
        """Its values along the axes, whether or not they were to be tried."""
        return self.settings or self.had


class Lead(Record):
    """The best trial's mean lead over the runner-up, paired by seed: positive is better.

    `low` and `high` are the 95% interval of the mean over seeds (Student's t), None for one seed.
    """

    runner_up: int
    by: float
    low: float | None
    high: float | None

    @property
    def clear(self) -> bool | None:
        """Whether the lead exceeds the variation between seeds; None if unknown."""
        return None if self.low is None else self.low > 0


class BeforeAfter(Record):
    """A trial scored on the test rows, against the base, as in its results.json."""

    run: str
    comparisons: tuple[Comparison, ...]


class Sweep(Record):
    """All of a sweep. `tested` has the chosen trial and, if different, the recipe's own.

    `test` compares the two on the same test items: `base` is the recipe's own, `tuned` the chosen.
    `tested_before` are trials that were chosen and tested before further trials were added.
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
        """The trials with a score, best first."""
        sign = -1.0 if self.higher_is_better else 1.0
        done = [trial for trial in self.trials if trial.value is not None]
        return sorted(done, key=lambda trial: (sign * (trial.value or 0.0), trial.number))

    @property
    def compared(self) -> int:
        """The number of settings that the best was chosen from, including pruned ones."""
        return sum(trial.state in ("complete", "pruned") for trial in self.trials)

    @property
    def best(self) -> Trial | None:
        """The best trial by its score on the validation rows."""
        return next(iter(self.ranked), None)

    @property
    def own(self) -> Trial | None:
        """The trial of the recipe's own setting."""
        return next((trial for trial in self.trials if trial.own), None)

    @property
    def lead(self) -> Lead | None:
        """The best against the runner-up; None if fewer than two trials have a score."""
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
    """Write sweep.json atomically; returns its path."""
    return store(found, folder / FILE_NAME)


def read(folder: Path) -> Sweep:
    """Read the sweep in a folder. Raises InputError if there is none or its file is malformed."""
    file = folder / FILE_NAME
    if not file.is_file():
        raise InputError(f"{folder}: no sweep is here; a sweep's folder holds {FILE_NAME}.")
    return load(Sweep, file, SCHEMA)
