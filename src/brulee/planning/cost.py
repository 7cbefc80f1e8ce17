"""The time of a training and its bytes on disk."""

from __future__ import annotations

from dataclasses import dataclass

from brulee.planning.probe import Probe


@dataclass(frozen=True)
class Cost:
    """Seconds of training, without loading, validation and scoring; bytes of the run's folder.

    `checkpoint_bytes` are those of the most checkpoints that lie there at one time, `folder_bytes`
    of them, or of those that are left and the result beside them, whichever are more.
    """

    seconds: float
    tokens: int
    result_bytes: int
    checkpoint_bytes: int
    folder_bytes: int


@dataclass(frozen=True)
class Saves:
    """How many checkpoints a training writes, how many of them it keeps, and a best one besides."""

    written: int
    keep: int
    best: bool

    @property
    def left(self) -> int:
        """How many there are at the end."""
        return min(self.keep, self.written) + self.best

    @property
    def most(self) -> int:
        """How many there are at one time: the oldest goes when the newest is whole."""
        return min(self.keep + 1, self.written) + self.best


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
    """Scale what was probed to all `tokens` and `steps`.

    A document takes `document_seconds` to be read and turned into tokens.
    """
    # Trained values are as many bytes as their gradients.
    one = int(whole.gradients + whole.optimizer)
    seconds = tokens * whole.token + steps * whole.update + whole.first
    return Cost(
        seconds=seconds + documents * document_seconds,
        tokens=tokens,
        result_bytes=result_bytes,
        checkpoint_bytes=saves.most * one,
        folder_bytes=max(saves.most * one, saves.left * one + result_bytes),
    )
