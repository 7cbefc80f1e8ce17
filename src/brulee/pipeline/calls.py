"""The Python API: the pipeline, isolated from settings of the calling process."""

from __future__ import annotations

import inspect
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from brulee import pipeline, progress
from brulee.errors import BruleeError, InputError
from brulee.inference.adapters import open_adapters
from brulee.inference.session import open_session
from brulee.models.defaults import own_defaults
from brulee.models.given_model import keep_model
from brulee.pipeline import evaluation, sweeps
from brulee.pipeline.result import Run
from brulee.pipeline.sweeps.outline import Options
from brulee.pipeline.sweeps.result import Sweep
from brulee.recipe import Recipe, load_recipe, recipe_from_dict, with_overrides
from brulee.recipe.axes import axes_of

P = ParamSpec("P")
T = TypeVar("T")
# Random state and the default dtype belong to the process: a concurrent run would change the
# first one's.
_at_work = threading.RLock()
# Parameters whose options have another name, and what is shown for the values of some.
_OPTIONS: Final = {"options": "set", "axes": "set"}
_VALUES: Final = {"folder": "PATH", "options": "{KEY: VALUE}", "axes": "{KEY: VALUES}"}
AnyRecipe = Recipe | Mapping[str, Any] | str | Path


def _alone(call: Callable[P, T]) -> Callable[P, T]:
    """One call at a time in this process, under torch's defaults, whatever the caller set."""

    @wraps(call)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        with _turn(), own_defaults():
            try:
                return call(*args, **kwargs)
            except BruleeError as error:
                _in_python(error, call)
                raise

    return wrapped


@contextmanager
def _turn() -> Iterator[None]:
    if not _at_work.acquire(blocking=False):
        progress.note("waiting for brulee, which is running in another thread of this process.")
        _at_work.acquire()
    try:
        yield
    finally:
        _at_work.release()


def _in_python(error: BruleeError, call: Callable[..., Any]) -> None:
    """Add a note with the Python names of command-line options in the message."""
    known = {"brulee resume": "brulee.resume(PATH)"}
    for name, parameter in inspect.signature(call).parameters.items():
        value = "True" if isinstance(parameter.default, bool) else _VALUES.get(name, name.upper())
        known[f"--{_OPTIONS.get(name, name).replace('_', '-')}"] = f"{name}={value}"
    said = dict.fromkeys(re.findall(r"brulee resume|--[a-z-]+", str(error)))
    called = [f"{theirs} is {known[theirs]}" for theirs in said if theirs in known]
    if called and not getattr(error, "__notes__", ()):
        error.add_note(f"In Python {', '.join(called)}.")


@_alone
def run(
    recipe: AnyRecipe,
    *,
    folder: str | Path | None = None,
    fresh: bool = False,
    show: bool | None = None,
) -> Run:
    """Score the base, tune it, score it again, write the report.

    `recipe` is a Recipe, its values (where `data.source` may be rows and `model` a pair of a model
    and its tokenizer), or its path. A folder with the same recipe is continued, or left unchanged
    if it is finished. If only the scoring differs (`evaluate`, `metrics`), the weights are kept
    and scored again; if the training differs, the run is refused with the difference. `fresh`
    moves the old run aside first. `show` draws bars and notes; by default, only in a notebook.
    Calls from several threads of a process take turns. Raises InputError for bad input and
    StoppedError for a run that stopped before its end, as on an interrupt; the same call, or
    `resume`, continues it.
    """
    with progress.shown(show):
        return Run(pipeline.run(_recipe(recipe, "run"), folder=folder, fresh=fresh))


@_alone
def train(
    recipe: AnyRecipe,
    *,
    folder: str | Path | None = None,
    fresh: bool = False,
    show: bool | None = None,
) -> Run:
    """Tune the model and stop after the adapter; otherwise as `run`."""
    with progress.shown(show):
        return Run(pipeline.train(_recipe(recipe, "train"), folder=folder, fresh=fresh))


@_alone
def resume(folder: str | os.PathLike[str], *, show: bool | None = None) -> Run:
    """Continue an interrupted run or training, whichever the folder holds.

    Raises InputError and StoppedError as `run`.
    """
    if not isinstance(folder, str | os.PathLike):
        raise InputError(
            f"brulee.resume takes a run or its folder, not an object of type "
            f"{type(folder).__name__}."
        )
    with progress.shown(show):
        return Run(pipeline.resume(Path(folder)))


@_alone
def sweep(
    recipe: AnyRecipe,
    axes: Mapping[str, Any] | Iterable[str],
    *,
    trials: int | None = None,
    seeds: int = 1,
    objective: str = "validation_loss",
    prune: bool = False,
    storage: str | None = None,
    timeout: float | None = None,
    keep_all: bool = False,
    folder: str | Path | None = None,
    fresh: bool = False,
    show: bool | None = None,
) -> Sweep:
    """Try settings of a recipe, choose one by validation rows, score it on the test rows.

    `axes` maps keys to lists of values or to a range, `{"method.rank": [4, 8],
    "train.learning_rate": "1e-4..3e-3:log"}`, or is a list of texts as for `--set` on the command
    line. Without `trials`, every combination of lists is tried, or twelve settings with ranges.
    `objective` is `validation_loss` or a score of the recipe's metrics; no trial begins after
    `timeout` seconds. The rest is as in `run`.
    """
    options = Options(trials, seeds, objective, prune, storage, timeout, keep_all)
    found, fixed = axes_of(axes)
    given = _recipe(recipe, "sweep")
    if fixed:
        given = with_overrides(given, fixed)
    where = None if folder is None else Path(folder)
    with progress.shown(show):
        outlined = sweeps.outline(given, found, options, where, fresh)
        file = str(recipe) if isinstance(recipe, str | Path) else "RECIPE"
        command = [file, *(word for text in fixed for word in ("--set", text))]
        return Sweep(sweeps.sweep(outlined, fresh, command))


def _recipe(given: AnyRecipe, command: str) -> Recipe:
    if isinstance(given, Recipe):
        return given
    if isinstance(given, Mapping):
        return recipe_from_dict(_with_a_name(given))
    if isinstance(given, str | Path):
        return load_recipe(given)
    raise InputError(
        f"brulee.{command} takes a recipe, its values or its path, not an object of type "
        f"{type(given).__name__}; brulee.load_recipe(PATH) reads one."
    )


def _with_a_name(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe, with a model object replaced by the folder it is stored in."""
    model = values.get("model")
    named = model.get("name") if isinstance(model, Mapping) else model
    if hasattr(named, "save_pretrained"):
        raise InputError(
            f"model: a {type(named).__name__} without its tokenizer; give both: "
            '{"model": (model, tokenizer)}.'
        )
    if not (isinstance(named, tuple) and len(named) == 2):
        return dict(values)
    kept = keep_model(*named)
    return {**values, "model": {**model, "name": kept} if isinstance(model, Mapping) else kept}


def _shown(call: Callable[P, T]) -> Callable[P, T]:
    @wraps(call)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        with progress.shown():
            return call(*args, **kwargs)

    return wrapped


evaluate = _alone(_shown(evaluation.evaluate))
load = _alone(open_session)
load_adapters = _alone(open_adapters)
