"""The time of a training and its bytes on disk."""

from __future__ import annotations

from dataclasses import dataclass

from brulee.methods.accounting import Count
from brulee.planning.probe import Probe


@dataclass(frozen=True)
class Cost:
    """Seconds of training, without loading, validation and scoring; bytes of the run's folder."""

    seconds: float
    tokens: int
    result_bytes: int
    checkpoint_bytes: int


def cost(
    count: Count,
    whole: Probe,
    *,
    pass_tokens: int,
    tokens: int,
    steps: int,
    checkpoints: int,
) -> Cost:
    """Scale a probed pass of `pass_tokens` to all `tokens`, and its update to all steps.

    `checkpoints` is how many lie on disk at one time, the one being written among them.
    """
    return Cost(
        seconds=tokens * whole.seconds / pass_tokens + steps * whole.update_seconds,
        tokens=tokens,
        result_bytes=count.stored_bytes,
        checkpoint_bytes=checkpoints * (count.gradient_bytes + count.optimizer_bytes),
    )
