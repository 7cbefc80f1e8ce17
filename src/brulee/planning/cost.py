"""The time of a training and its bytes on disk."""

from __future__ import annotations

from dataclasses import dataclass

from brulee.planning.probe import Probe


@dataclass(frozen=True)
class Cost:
    """Seconds of training, without loading, validation and scoring; bytes of the run's folder."""

    seconds: float
    tokens: int
    result_bytes: int
    checkpoint_bytes: int


def cost(
    whole: Probe,
    *,
    tokens: int,
    documents: int,
    document_seconds: float,
    steps: int,
    result_bytes: int,
    checkpoints: int,
) -> Cost:
    """Scale what was probed to all `tokens` and `steps`.

    A document takes `document_seconds` to be read and turned into tokens. `checkpoints` is how many
    lie on disk at one time, the one being written among them.
    """
    seconds = tokens * whole.token + steps * whole.update + whole.first
    return Cost(
        seconds=seconds + documents * document_seconds,
        tokens=tokens,
        result_bytes=result_bytes,
        # Trained values are as many bytes as their gradients.
        checkpoint_bytes=checkpoints * int(whole.gradients + whole.optimizer),
    )
