"""TensorBoard, Weights & Biases and MLflow, through accelerate's trackers.

Everything stays in the run's folder `trackers/`, offline, unless the tracker's own environment
variables say otherwise (WANDB_MODE=online, MLFLOW_TRACKING_URI=...).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from brulee.errors import InputError
from brulee.training.recorder import Tracker

# The package behind each name.
PACKAGES: Final = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}


def check_trackers(names: Sequence[str], where: str) -> None:
    """Raise InputError for a tracker whose package is not installed."""
    for name in names:
        if find_spec(PACKAGES[name]) is None:
            raise InputError(
                f"{where}: the tracker {name!r} needs the package {PACKAGES[name]!r}; install it "
                "with: pip install 'brulee[trackers]'."
            )


def open_trackers(
    names: Sequence[str], run: str, folder: Path, recipe: Mapping[str, Any]
) -> list[Tracker]:
    """The trackers of a run, each told its recipe; a resumed run goes on in the same folder."""
    return [_Accelerate(name, run, folder / "trackers", recipe) for name in names]


class _Accelerate:
    """One of accelerate's trackers behind our interface."""

    def __init__(self, name: str, run: str, folder: Path, recipe: Mapping[str, Any]) -> None:
        from accelerate import PartialState

        PartialState()  # the trackers ask it whether this process writes
        folder.mkdir(parents=True, exist_ok=True)
        self._tracker = _MAKERS[name](run, folder)
        self._tracker.start()
        self._tracker.store_init_configuration(_flat(recipe))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._tracker.log(dict(values), step=step)

    def finish(self) -> None:
        self._tracker.finish()


def _tensorboard(run: str, folder: Path) -> Any:
    from accelerate.tracking import TensorBoardTracker

    return TensorBoardTracker(run, folder)


def _wandb(run: str, folder: Path) -> Any:
    from accelerate.tracking import WandBTracker

    os.environ.setdefault("WANDB_MODE", "offline")
    return WandBTracker(run, dir=str(folder))


def _mlflow(run: str, folder: Path) -> Any:
    from accelerate.tracking import MLflowTracker

    where = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{folder.absolute()}/mlflow.db")
    os.environ.setdefault("MLFLOW_TRACKING_URI", where)
    return MLflowTracker(experiment_name=run, logging_dir=str(folder))


_MAKERS: Final = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Nested values under dotted names, as the trackers' tables hold them."""
    found: dict[str, str | int | float | bool] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            plain = isinstance(value, str | int | float | bool)
            found[f"{prefix}{key}"] = value if plain else str(value)
    return found
