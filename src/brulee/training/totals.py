"""What a training cost, and which weights it kept."""

from __future__ import annotations

from dataclasses import dataclass

from brulee.training.selection import Best


@dataclass(frozen=True)
class Totals:
    """The costs of a training. Tokens exclude padding; seconds exclude validation.

    After an `early` stop, fewer steps than `planned` were taken; the weights are those of step
    `kept`.
    """

    steps: int
    tokens: int
    seconds: float
    peak_memory_bytes: int
    planned: int
    kept: int
    early: bool
    best: Best

    @property
    def tokens_per_second(self) -> float:
        """Real tokens trained on per second."""
        return self.tokens / self.seconds if self.seconds else 0.0
