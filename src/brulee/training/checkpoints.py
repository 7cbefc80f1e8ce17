"""The checkpoints of one training: the newest ones, and the one that validated best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from brulee.errors import StoppedError
from brulee.recipe import TrainSpec
from brulee.training import checkpoint, together
from brulee.training.checkpoint import Checkpoint
from brulee.training.guards import diverged
from brulee.training.world import World


class Checkpoints:
    """Writes and restores the parameters and the optimiser of a training in a run's folder.

    `step` is that of the newest checkpoint (0 for none), `best` the best step as that one has it,
    from which a resumed training goes on. `writing` says whether one is being written.
    """

    def __init__(
        self,
        folder: Path,
        parameters: Sequence[torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
        spec: TrainSpec,
        world: World,
        learning_rate: float,
    ) -> None:
        self._root, self._bests = folder / "checkpoints", folder / "checkpoints" / "best"
        self._parameters, self._optimizer = parameters, optimizer
        self._spec, self._world, self._learning_rate = spec, world, learning_rate
        self.step, self.best, self.writing = 0, 0, False

    def save(self, step: int, state: dict[str, Any], best: int) -> None:
        """Write one for the step unless there is one, and drop the oldest."""
        if self.step == step:
            return
        self._write(self._root, step, state, self._spec.keep_checkpoints)
        self.step, self.best = step, best
        if self._spec.keep_best and self._world.writes:
            checkpoint.drop(self._bests, best, keep=1)

    def save_best(self, step: int, state: dict[str, Any]) -> None:
        """Write the one that validated best, beside that of the step the newest one calls best."""
        self._write(self._bests, step, state, keep=1, spared=self.best)

    def restore_newest(self, like: Mapping[str, Any]) -> Checkpoint | None:
        """Restore the newest undamaged one, whose state has the keys of `like`; None without any.

        Raises InputError for one of another version.
        """
        saved = checkpoint.newest(self._root, like)
        if saved is not None:
            checkpoint.restore(saved, self._parameters, self._optimizer, self._world)
            self.step, self.best = saved.step, int(saved.state["best"]["step"])
        return saved

    def restore_best(self, step: int) -> None:
        """Restore the weights of the step that validated best. Raises StoppedError if damaged."""
        found = checkpoint.of_step(self._bests, step)
        if found is None:
            raise StoppedError(
                f"{self._bests}: the checkpoint of step {step}, which validated best, is "
                "damaged or missing. Start over with --fresh."
            )
        checkpoint.restore_weights(found, self._parameters)

    def _write(
        self, root: Path, step: int, state: dict[str, Any], keep: int, spared: int | None = None
    ) -> None:
        # A step may produce bad weights that only the next one would reveal.
        if not together.all_finite(self._world, self._parameters):
            what = f"step {step}: it left weights that are not finite"
            raise diverged(what, self.step, self._learning_rate)
        written = self._parameters, self._optimizer, state
        self.writing = True
        try:
            checkpoint.save(root, step, *written, keep, self._world, spared)
        finally:
            self.writing = False
