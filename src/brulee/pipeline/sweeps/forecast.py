"""Forecast of a sweep before it begins: seconds of training, bytes on disk."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from brulee.errors import InputError
from brulee.methods.accounting import count
from brulee.models.configuration import model_name
from brulee.models.disk import nearest_folder
from brulee.models.skeleton import load_skeleton
from brulee.pipeline.new_tokens import rows_of
from brulee.pipeline.plan import Line, plan
from brulee.pipeline.sweeps.outline import Outline
from brulee.pipeline.sweeps.space import Space
from brulee.recipe import Recipe
from brulee.recipe.axes import overrides_of, points
from brulee.reporting import wording
from brulee.training.documents import planned_documents

_KEPT = 3  # runs with weights at a time: the best, the recipe's own, the one being trained


@dataclass(frozen=True)
class Forecast:
    """Seconds of all trainings, without loading, validation and tests; peak bytes on disk."""

    trainings: int
    seconds: float
    by_method: Mapping[str, float]
    disk: int
    free: int
    too_large: tuple[str, ...] = ()

    def told(self) -> list[str]:
        """The forecast in sentences."""
        each = ", ".join(f"{wording.duration(s)} ({name})" for name, s in self.by_method.items())
        said = [
            f"{self.trainings} trainings of about {each}: {wording.duration(self.seconds)} in all, "
            "without loading, validation and the test; up to "
            f"{wording.size(self.disk)} on disk, of {wording.size(self.free)} free."
        ]
        if self.disk > self.free:
            said.append("The disk is too small for that.")
        if self.too_large:
            said.append(f"This machine may have too little memory for {', '.join(self.too_large)}.")
        return said


def check_methods(space: Space) -> None:
    """Raise InputError for a setting whose method cannot be used on this model."""
    model, revision = model_name(space.recipe), space.recipe.base.revision
    rows = rows_of(space.recipe)
    seen: dict[str, None] = {}
    for point in [*points(space.axes, space.applies), {}]:
        method = space.recipe_of(point).method
        key = json.dumps([method.name, method.options()], sort_keys=True)
        if key in seen:
            continue
        seen[key] = None
        counted = count(
            lambda: load_skeleton(model, revision, vocabulary=rows.vocabulary),
            method.options(),
            (method.name,),
            alongside=rows.trained,
        )
        if counted[0].refusal:
            changed = f"--set {', '.join(overrides_of(point))}" if point else "the recipe"
            raise InputError(f"{changed}: {counted[0].refusal}")


def forecast(outline: Outline) -> Forecast:
    """Extrapolate from a short trial of each method in one of its settings."""
    recipes = [
        outline.space.recipe_of(p) for p in points(outline.space.axes, outline.space.applies)
    ]
    by_method: dict[str, list[Recipe]] = {}
    for recipe in [*recipes, outline.space.recipe_of({})]:
        by_method.setdefault(recipe.method.name, []).append(recipe)
    lines = {name: plan(of[0], (name,)).lines[0] for name, of in by_method.items()}
    seconds = {
        name: [_seconds(lines[name], of[0], one, outline.ground.documents) for one in of]
        for name, of in by_method.items()
    }
    trainings = outline.total * outline.options.seeds
    runs = trainings if outline.options.keep_all else min(trainings, _KEPT)
    return Forecast(
        trainings=trainings,
        seconds=trainings * statistics.fmean(s for found in seconds.values() for s in found),
        by_method={name: statistics.fmean(found) for name, found in seconds.items()},
        disk=runs * max(_bytes(line) for line in lines.values()),
        free=shutil.disk_usage(nearest_folder(outline.folder, "the sweep's folder")).free,
        too_large=tuple(name for name, line in lines.items() if not line.fits),
    )


def _seconds(line: Line, of: Recipe, recipe: Recipe, documents: int) -> float:
    """The seconds of a training, scaled from `line`, the plan of another one `of` its method."""
    assert line.cost is not None, "a method that cannot be put on the model was refused"
    share = planned_documents(recipe.train, documents) / planned_documents(of.train, documents)
    return line.cost.seconds * share


def _bytes(line: Line) -> int:
    assert line.cost is not None
    return line.cost.folder_bytes
