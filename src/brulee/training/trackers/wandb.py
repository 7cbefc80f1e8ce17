"""A run at Weights & Biases, offline unless WANDB_MODE says otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import ClassVar

from brulee import progress
from brulee.training.trackers.base import Opening, Outcome
from brulee.training.trackers.wandb_file import last_step


class WeightsAndBiases:
    """One run by its id, however often the training is started.

    Offline, each start has its own folder under that id; `wandb sync` merges them into one run.
    """

    package: ClassVar[str | None] = "wandb"
    name = "wandb"

    def __init__(self, at: Opening) -> None:
        import wandb

        mode = os.environ.get("WANDB_MODE", "offline")
        quiet = not progress.enabled() and "WANDB_SILENT" not in os.environ
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or at.run,
            name=os.environ.get("WANDB_NAME") or at.run,
            id=at.id,
            # Offline, W&B does not know of earlier starts and would warn.
            resume="allow" if at.id and mode == "online" else None,
            dir=str(at.folder),
            mode=mode,
            settings=wandb.Settings(silent=True) if quiet else None,
        )
        self._run.config.update(dict(at.recipe), allow_val_change=True)
        self.id = str(self._run.id)
        self._has = 0
        if at.id:
            self._has = self._run.step - 1 if self._run.resumed else _last_here(at)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log a step unless the run has it, as logged values cannot be deleted."""
        if step > self._has:
            self._run.log(dict(values), step=step)

    def finish(self, outcome: Outcome) -> None:
        """Send what is left; W&B only distinguishes success and failure."""
        self._run.finish(exit_code=int(outcome != "finished"))


def _last_here(at: Opening) -> int:
    """The last step in the files of earlier starts; if there are none, `at.step`."""
    files = sorted((at.folder / "wandb").glob(f"*run-*-{at.id}/run-{at.id}.wandb"))
    return max(map(last_step, files)) if files else at.step
