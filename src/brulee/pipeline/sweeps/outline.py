"""The outline of a sweep, checked before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from brulee.errors import InputError
from brulee.methods.continuing import resolved
from brulee.pipeline.sweeps.ground import Ground
from brulee.pipeline.sweeps.space import Space
from brulee.recipe import Recipe
from brulee.recipe.axes import Range
from brulee.reporting.sweep_results import LOSS

TRIALS = 12  # settings in addition to the recipe's own, if an axis is a range


@dataclass(frozen=True)
class Options:
    """Options of a sweep: `trials` in addition to the recipe's own setting, `timeout` in seconds.

    Without `trials`, lists are tried in full, or twelve settings with ranges.
    """

    trials: int | None = None
    seeds: int = 1
    objective: str = LOSS
    prune: bool = False
    storage: str | None = None
    timeout: float | None = None
    keep_all: bool = False

    def check(self) -> None:
        """Raise InputError for an invalid number."""
        for name, value in (("trials", self.trials), ("seeds", self.seeds)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InputError(f"{name} = {value!r}: it should be a whole number, 1 or more.")
        if self.timeout is not None and not self.timeout > 0:
            raise InputError(f"timeout = {self.timeout!r}: it should be seconds, more than 0.")


@dataclass(frozen=True)
class Outline:
    """The settings, what all trials share, the folder, and the total number of trials."""

    space: Space
    ground: Ground
    folder: Path
    total: int
    maximise: bool
    options: Options

    @property
    def recipe(self) -> Recipe:
        """The recipe whose settings are tried."""
        return self.space.recipe

    @property
    def sampler(self) -> Literal["grid", "tpe"]:
        """How settings are chosen: "grid" for all of them, "tpe" for those that TPE proposes."""
        return "grid" if is_grid(self.space, self.total) else "tpe"

    def facts(self) -> Mapping[str, Any]:
        """What must not change before the sweep is continued."""
        values = resolved(self.recipe).to_dict()
        del values["evaluate"], values["train"]["trackers"], values["name"], values["runs"]
        kept = asdict(self.options)
        return {
            "recipe": values,
            "axes": [axis.text for axis in self.space.axes],
            **{key: kept[key] for key in ("seeds", "objective", "prune")},
            "data or model": dict(self.ground.facts),
        }


def total_of(space: Space, options: Options) -> int:
    """The total number of trials, including the recipe's own."""
    grid = space.grid
    ranges = any(isinstance(axis, Range) for axis in space.axes)
    trials = options.trials or (TRIALS if ranges or grid is None else None)
    asked = math.inf if trials is None else 1 + trials
    return int(min(asked, math.inf if grid is None else len(grid)))


def is_grid(space: Space, total: int) -> bool:
    """Whether `total` trials cover every setting."""
    grid = space.grid
    return grid is not None and len(grid) <= total
