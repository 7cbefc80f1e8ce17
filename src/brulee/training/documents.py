"""Which documents each training step reads."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from brulee.data.encoding import Encoded
from brulee.recipe import TrainSpec


@dataclass(frozen=True)
class Document:
    """One training document and the name of its row, for messages."""

    row: str
    encoded: Encoded


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

    def saves(self, every: int | None) -> int:
        """The number of checkpoints: one every `every` steps (default: per epoch), and the last."""
        return math.ceil(self.steps / (every or self.per_epoch))


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
