"""Which step's weights are the best by validation loss, and when waiting for better ones ends."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


def idle_patience(patience: int, steps: int, every: int) -> str | None:
    """Why waiting for a lower loss can never end a training of so many steps; None where it can.

    The first validation is the best so far, so the earliest end is `patience` validations later.
    """
    earliest, most = (patience + 1) * every, (steps - 1) // (patience + 1)
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
        """Take in a validation; whether it is the best so far."""
        # NaN is below nothing, and nothing below NaN: a first one would stay the best for good.
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
        """What a checkpoint keeps of it."""
        return asdict(self)


def _steps(every: int) -> str:
    return "step" if every == 1 else f"{every} steps"
