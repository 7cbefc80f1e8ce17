"""The time of a training, and its disk space."""

from __future__ import annotations

from dataclasses import dataclass

from brulee.planning.probe import Probe


@dataclass(frozen=True)
class Cost:
    """Seconds of training, without loading, validation and scoring; bytes of the run's folder.

    `checkpoint_bytes` is the peak size of the checkpoints; `folder_bytes` is the larger of that and
    the final checkpoints plus the result.
    """

    seconds: float
    tokens: int
    result_bytes: int
    checkpoint_bytes: int
    folder_bytes: int


@dataclass(frozen=True)
class Saves:
    """How many checkpoints a training writes and keeps, and whether it also keeps a best one."""

    written: int
    keep: int
    best: bool

    @property
    def left(self) -> int:
        """How many remain at the end."""
        return min(self.keep, self.written) + self.best

    @property
    def most(self) -> int:
        """The peak number: the oldest is deleted after the newest is complete, also of the best."""
        return min(self.keep + 1, self.written) + 2 * self.best


def cost(
    whole: Probe,
    *,
    tokens: int,
    documents: int,
    document_seconds: float,
    steps: int,
    result_bytes: int,
    saves: Saves,
) -> Cost:
    """Scale a probe to all `tokens` and `steps`.

    Reading and tokenizing a document takes `document_seconds`.
    """
    # Trained values take as many bytes as their gradients.
    one = int(whole.gradients + whole.optimizer)
    seconds = tokens * whole.token + steps * whole.update + whole.first
    return Cost(
        seconds=seconds + documents * document_seconds,
        tokens=tokens,
        result_bytes=result_bytes,
        checkpoint_bytes=saves.most * one,
        folder_bytes=max(saves.most * one, saves.left * one + result_bytes),
    )
