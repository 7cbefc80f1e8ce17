"""Which documents each training step reads."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from brulee.data.encoding import Encoded
from brulee.recipe import TrainSpec


@dataclass(frozen=True)
class Document:
    """One training document and the name of its row, for messages."""

    row: str
    encoded: Encoded


_FINEST: Final = 1_000_000  # the largest denominator of a share of an epoch

# A pure function of the index, so that resuming only needs one integer.
Documents = Callable[[int], Document]


@dataclass(frozen=True)
class Course:
    """A training's steps: `per_step` documents each, `documents` in total."""

    per_step: int
    per_epoch: int
    documents: int
    steps: int

    def of(self, step: int) -> range:
        """The documents of a 0-based step; the last step may have fewer."""
        first = step * self.per_step
        return range(first, min(first + self.per_step, self.documents))

    def interval(self, every: float | None) -> Fraction:
        """Steps between actions: `every`, or below 1 that share of an epoch (default: an epoch).

        It may lie between two whole numbers, so that a quarter comes four times an epoch, the last
        time at its end, whatever the number of steps; a share below a step is a step.
        """
        if every is None or every >= 1:
            return Fraction(self.per_epoch if every is None else int(every))
        # The share that was meant: 1/3 and 0.1 have no exact float.
        return max(Fraction(1), Fraction(every).limit_denominator(_FINEST) * self.per_epoch)

    def due(self, step: int, every: float | None) -> bool:
        """Whether such an action is due after `step` steps: at the first step of its interval."""
        interval = self.interval(every)
        return step // interval > (step - 1) // interval

    def saves(self, every: float | None) -> int:
        """The number of checkpoints: one for each interval, and the last."""
        # An interval that ends between two steps can have the last step as its first.
        return (self.steps - 1) // self.interval(every) + 1


def course(spec: TrainSpec, count: int) -> Course:
    """The steps of a training with `count` documents per epoch."""
    per_step = spec.batch_size * spec.accumulation
    return Course(
        per_step,
        math.ceil(count / per_step),
        math.ceil(spec.epochs * count),
        math.ceil(planned_documents(spec, count) / per_step),
    )


def planned_documents(spec: TrainSpec, count: int) -> int:
    """How many documents a training reads, with `count` documents per epoch."""
    documents = math.ceil(spec.epochs * count)
    if spec.max_steps is None:
        return documents
    return min(documents, spec.max_steps * spec.batch_size * spec.accumulation)
