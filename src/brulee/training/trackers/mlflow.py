"""A run in MLflow, in a database in the run's folder unless MLFLOW_TRACKING_URI is set."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from brulee.training.trackers.base import Opening, Outcome

_STATUS: Final[dict[Outcome, str]] = {
    "finished": "FINISHED",
    "stopped": "KILLED",
    "failed": "FAILED",
}
_LONGEST, _AT_ONCE = 6000, 100  # MLflow's limits: characters per parameter, parameters per call
# The training waits for its tracker: MLflow's default of 7 retries takes four minutes, too long.
# Telemetry and printed URLs are off unless the user turns them on.
_DEFAULTS: Final = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}


class Mlflow:
    """One run by its id, however often the training is started."""

    package: ClassVar[str | None] = "mlflow"
    name = "mlflow"

    def __init__(self, at: Opening) -> None:
        for variable, value in _DEFAULTS.items():
            os.environ.setdefault(variable, value)
        from mlflow import MlflowClient

        uri = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(uri or f"sqlite:///{at.folder.absolute()}/mlflow.db")
        found = self._find(at.id)
        if found is None:
            found = self._begin(at, None if uri else str(at.folder))
        self.id = str(found.info.run_id)
        self._client.update_run(self.id, status="RUNNING")
        self._has = {one.key: one.step for one in found.data.to_proto().metrics}

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log a step unless the run has it, as logged values cannot be deleted."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        new = {name: value for name, value in values.items() if step > self._has.get(name, 0)}
        if new:
            metrics = [Metric(name, value, now, step) for name, value in new.items()]
            self._client.log_batch(self.id, metrics=metrics)

    def finish(self, outcome: Outcome) -> None:
        """Record how it ended."""
        self._client.set_terminated(self.id, _STATUS[outcome])

    def _find(self, known: str | None) -> Any:
        """The run of that id; None if it does not exist (any more)."""
        from mlflow.exceptions import MlflowException

        if known is None:
            return None
        try:
            run = self._client.get_run(known)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return run if run.info.lifecycle_stage == "active" else None

    def _begin(self, at: Opening, artifacts: str | None) -> Any:
        from mlflow.entities import Param
        from mlflow.tracking.context.registry import resolve_tags

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or at.run
        held = self._client.get_experiment_by_name(name)
        experiment = held.experiment_id if held else self._client.create_experiment(name, artifacts)
        run = self._client.create_run(experiment, run_name=at.run, tags=resolve_tags())
        rest = iter(at.recipe.items())
        while some := [
            Param(key, str(value)[:_LONGEST]) for key, value in itertools.islice(rest, _AT_ONCE)
        ]:
            self._client.log_batch(run.info.run_id, params=some)
        return run
