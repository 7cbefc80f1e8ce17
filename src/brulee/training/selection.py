"""Which step's weights have the best validation loss, and when to stop early."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any


def idle_patience(patience: int, steps: int, every: Fraction) -> str | None:
    """Why early stopping can never end a training of so many steps; None if it can.

    `every` is the steps between validations (`Course.interval`). The first one is the best so far,
    so the earliest stop is `patience` validations later.
    """
    earliest, most = math.ceil((patience + 1) * every), (steps - 1) // (patience + 1)
    if earliest < steps:
        return None
    mend = (
        f"set train.validate_every to {most} or less" if most else "set it lower, or train longer"
    )
    return (
        f"train.patience = {patience} can never stop this training: validated every "
        f"{_steps(every)}, it could at step {earliest}, and there are {steps}; {mend}."
    )


@dataclass
class Best:
    """The lowest validation loss so far, its step, and the validations since then."""

    loss: float | None = None
    step: int = 0
    waited: int = 0

    def see(self, step: int, loss: float) -> bool:
        """Record a validation; returns whether it is the best so far."""
        # Nothing compares below NaN: as the first loss, it would remain the best forever.
        better = not math.isnan(loss) and (self.loss is None or loss < self.loss)
        if better:
            self.loss, self.step, self.waited = loss, step, 0
        else:
            self.waited += 1
        return better

    def told(self) -> str:
        """When the loss was lowest, to follow "the validation loss was"."""
        if self.loss is None:
            return "not a number at any step"
        return f"lowest at step {self.step} ({self.loss:.4f})"

    def state(self) -> dict[str, Any]:
        """Its state in a checkpoint."""
        return asdict(self)


def _steps(every: Fraction) -> str:
    return "step" if every == 1 else f"{float(every):g} steps"
