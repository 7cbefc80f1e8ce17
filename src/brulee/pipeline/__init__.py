"""The pipeline from a recipe to a report, whole and in parts, as plain functions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import date
from pathlib import Path

from brulee import progress
from brulee.errors import InputError
from brulee.pipeline.folder import RunFolder, open_run, reopen_run
from brulee.pipeline.lock import run_lock
from brulee.pipeline.preparation import Prepared, prepare
from brulee.pipeline.record import recheck
from brulee.pipeline.sharded import run_sharded
from brulee.pipeline.stages import score, score_before, write_up
from brulee.pipeline.stops import interruptible
from brulee.pipeline.trained import Trained, ended
from brulee.pipeline.tryouts import find_learning_rate
from brulee.pipeline.tuning import Watch, tune, tuned_model
from brulee.recipe import Recipe
from brulee.training.world import World, joined


def run(recipe: Recipe, *, folder: str | Path | None = None, fresh: bool = False) -> Path:
    """Score the base, tune it, score it again, write the report; returns the run folder.

    A run folder with the same recipe is continued, or left unchanged if it is finished. If only the
    scoring differs (`evaluate`, `metrics`), the weights are kept and scored again; if the training
    differs, the run is refused with the difference. `fresh` moves the old run aside first.
    Raises InputError for bad input and StoppedError for a run that stopped before its end.
    """
    return _whole(_opened(recipe, "run", folder, fresh))


def train(
    recipe: Recipe,
    *,
    folder: str | Path | None = None,
    fresh: bool = False,
    watch: Watch | None = None,
    dated: date | None = None,
) -> Path:
    """Tune the model and stop after the adapter; otherwise as `run`.

    `dated` is the day that chat templates print, by default the one on which the run begins.
    """
    where = _opened(recipe, "train", folder, fresh)
    where.dated = dated
    return _training(where, watch)


def resume(folder: str | Path) -> Path:
    """Continue an interrupted run or training, whichever the folder holds."""
    where = reopen_run(Path(folder))
    return _training(where) if where.command == "train" else _whole(where)


def _opened(recipe: Recipe, command: str, folder: str | Path | None, fresh: bool) -> RunFolder:
    if not isinstance(recipe, Recipe):
        raise InputError(
            f"brulee.{command} takes a recipe, not an object of type {type(recipe).__name__}; "
            "brulee.load_recipe(PATH) reads one, brulee.recipe_from_dict(VALUES) makes one."
        )
    return open_run(recipe, command, None if folder is None else Path(folder), fresh)


def _whole(where: RunFolder) -> Path:
    if where.finished:
        return where.path
    with _working(where) as world:
        known = ended(where)
        prepared = prepare(where, world)
        if world.shards:
            run_sharded(prepared, known)
        else:
            _run_whole(prepared, known)
        world.wait()
    return where.path


def _run_whole(prepared: Prepared, known: Trained | None) -> None:
    writes = prepared.world.writes
    if writes:
        before = score_before(prepared)
    prepared, tuned = tuned_model(prepared, known)
    if writes:
        after = score(prepared, "tuned", tuned.attached)
        write_up(prepared, tuned, before, after)


def _training(where: RunFolder, watch: Watch | None = None) -> Path:
    if where.scored:
        return where.path
    with _working(where) as world:
        if ended(where) is None:
            tune(prepare(where, world), watch)
        elif world.writes:
            recheck(where)  # a changed base or changed data is refused even if training is done
        world.wait()
    return where.path


@contextmanager
def _working(where: RunFolder) -> Iterator[World]:
    """Join the processes that work on a run; only one of them prints and writes the folder.

    Raises InputError if another run is working in the folder.
    """
    with joined(where.recipe.train.device) as world:
        if not world.writes:
            progress.enable(False)
        with run_lock(where.path) if world.writes else nullcontext(), interruptible(where):
            yield world


__all__ = ["RunFolder", "find_learning_rate", "resume", "run", "train"]
