"""TensorBoard, Weights & Biases and MLflow; a run is one curve, however often it is resumed.

Everything stays in the run's folder `trackers/`, offline, unless the tracker's own environment
variables say otherwise (WANDB_MODE=online, MLFLOW_TRACKING_URI=...).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from brulee.errors import InputError, unknown
from brulee.training.trackers.base import Opening, Plain, Tracker, words
from brulee.training.trackers.ids import Ids
from brulee.training.trackers.mlflow import Mlflow
from brulee.training.trackers.tensorboard import TensorBoard
from brulee.training.trackers.wandb import WeightsAndBiases

TRACKERS: Final[dict[str, type[Tracker]]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": Mlflow,
}


def check_names(names: Sequence[str], where: str) -> None:
    """Raise InputError for an unknown tracker."""
    for name in names:
        if name not in TRACKERS:
            raise unknown("tracker", name, TRACKERS, where)


def check_trackers(names: Sequence[str], where: str) -> None:
    """Raise InputError for an unknown tracker, or one whose package is not installed."""
    check_names(names, where)
    for name in names:
        package = TRACKERS[name].package
        if package is not None and find_spec(package) is None:
            raise InputError(
                f"{where}: the tracker {name!r} needs the package {package!r}; install it with: "
                "pip install 'brulee[trackers]'. Or continue without it: run the recipe again "
                f"with {_without(names, name)}."
            )


def open_trackers(
    names: Sequence[str], run: Path, recipe: Mapping[str, Any], where: str, step: int
) -> Iterator[Tracker]:
    """The trackers of a training in the folder `run` that continues after `step`, one by one.

    Raises InputError naming a tracker that could not be opened, with its error.
    """
    known, values = Ids(run), _flat(recipe)
    for name in names:
        known.keep()
        at = Opening(known.run, known.folder, values, step, known.ids.get(name))
        try:
            tracker = TRACKERS[name](at)
        except Exception as error:
            raise InputError(
                f"{where}: the tracker {name!r} could not be opened: {words(error)}. Fix that, or "
                f"continue without it: run the recipe again with {_without(names, name)}."
            ) from None
        yield tracker
        known.ids[name] = tracker.id
        known.keep()


def _without(names: Sequence[str], left_out: str) -> str:
    rest = ",".join(name for name in names if name != left_out)
    return f"--set 'train.trackers=[{rest}]'"  # quoted, because some shells interpret brackets


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Plain]:
    """Nested values under dotted names, as trackers show them."""
    found: dict[str, Plain] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            plain = isinstance(value, str | int | float | bool)
            found[f"{prefix}{key}"] = value if plain else str(value)
    return found
