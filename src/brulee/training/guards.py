"""Guards against steps that are not finite and against jumps of the loss."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from brulee.errors import StoppedError
from brulee.methods.base import largest
from brulee.progress import note
from brulee.training.events import EventLog

_ROWS_NAMED = 8  # in a message; events.jsonl names them all
# A spike exceeds the median of recent losses by _DEVIATIONS robust deviations, and by a third.
_WINDOW, _LEAST, _DEVIATIONS, _RISE = 50, 16, 8.0, 4 / 3


class Guards:
    """Skips steps that are not finite, at most `most` in a row; reports losses that jump.

    `damaged` names a frozen tensor that is not finite, in which case neither rows nor rate are to
    blame.
    """

    def __init__(
        self,
        events: EventLog,
        most: int,
        learning_rate: float,
        damaged: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.events, self.most, self.learning_rate = events, most, learning_rate
        self.damaged = damaged
        self.skipped = 0  # in a row
        self._losses: deque[float] = deque(maxlen=_WINDOW)

    def go_on(self, skipped: int, events: Iterable[dict[str, Any]]) -> None:
        """Restore the state from before a resume."""
        self.skipped = skipped
        self._losses.extend(e["loss"] for e in events if e["event"] == "step")

    def skip(
        self,
        step: int,
        loss: float,
        norm: float,
        rows: Callable[[], list[str]],
        saved: int,
        final: bool = False,
    ) -> None:
        """Record a skipped step.

        Raises StoppedError, naming the step's rows or a damaged tensor, after the allowed number in
        a row, and at the `final` step of a training, as no later step could show whether the
        weights are usable. `rows` returns the rows' names, `saved` is the step of the newest
        checkpoint, 0 if there is none.
        """
        self.skipped += 1
        bad_loss = not math.isfinite(loss)
        what = f"the loss is {loss}" if bad_loss else f"the gradient norm is {norm}"
        last = final or self.skipped == self.most
        names = rows()
        event = "stopped" if last else "skipped"
        self.events.write(event, step=step, reason=what, rows=names, in_a_row=self.skipped)
        if not last:
            note(f"step {step} is skipped: {what}; its rows: {named(names)}")
            return
        if (name := self.damaged()) is not None:
            raise StoppedError(f"step {step}: {what}; {damaged(name)}")
        before = f", as in the {self.skipped - 1} before it" if self.skipped > 1 else ""
        more = f" (all {len(names)} in {self.events.path})" if len(names) > _ROWS_NAMED else ""
        raise diverged(
            f"step {step}: {what}{before}; its rows: {named(names)}{more}",
            saved,
            self.learning_rate,
            "; and look at these rows",
        )

    def passed(self, step: int, loss: float, rows: Callable[[], list[str]]) -> None:
        """Record a step that was taken; report a loss that stands out."""
        self.skipped = 0
        usual = self._usual()
        if usual is not None and loss > usual[1]:
            names = rows()
            self.events.write("spike", step=step, loss=loss, usual=usual[0], rows=names)
            note(
                f"step {step}: the loss jumped to {loss:.3f} from about {usual[0]:.3f}; its rows: "
                f"{named(names)}"
            )
        self._losses.append(loss)

    def _usual(self) -> tuple[float, float] | None:
        """The median of recent losses and the threshold for a spike; None if there are too few."""
        if len(self._losses) < _LEAST:
            return None
        middle = statistics.median(self._losses)
        # 1.4826 times the median absolute deviation: a robust estimate of the standard deviation.
        deviation = 1.4826 * statistics.median(abs(x - middle) for x in self._losses)
        return middle, max(middle + _DEVIATIONS * deviation, _RISE * middle)


def frozen_damage(model: torch.nn.Module) -> str | None:
    """The first frozen tensor that is not finite."""
    for name, tensor in model.named_parameters():
        frozen = not tensor.requires_grad and tensor.is_floating_point()
        if frozen and not math.isfinite(largest(tensor)):
            return name
    return None


def damaged(name: str) -> str:
    """A clause that ends a sentence: a frozen tensor is why a loss is not finite."""
    return (
        f"the model's tensor {name!r}, which is not trained, holds NaN or infinite values: it is "
        "damaged, or too large for its number format."
    )


def diverged(what: str, saved: int, learning_rate: float, more: str = "") -> StoppedError:
    """The error for a diverged training, with remedies."""
    kept = f"The checkpoint of step {saved} is kept. " if saved else ""
    return StoppedError(
        f"{what}. {kept}Try a lower train.learning_rate (it is {learning_rate:g}), a "
        f"longer train.warmup, or train.precision=float32{more}."
    )


def named(rows: Sequence[str]) -> str:
    """The first rows, to follow "its rows: " in a sentence."""
    return "; ".join(rows[:_ROWS_NAMED]) + (" ..." if len(rows) > _ROWS_NAMED else "")
