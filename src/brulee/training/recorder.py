"""What is told of a training as it goes: events.jsonl always, trackers where they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from brulee.progress import note
from brulee.training.events import EventLog

_SHOWN = {"prompt": "prompt", "writes": "output", "should": "reference"}


class Tracker(Protocol):
    """A place that draws curves."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Take in the numbers of a step."""

    def finish(self) -> None:
        """Write what is still held back."""


class Recorder:
    """Writes events, hands their numbers to trackers, and says aloud what a person should know."""

    def __init__(self, events: EventLog, trackers: Sequence[Tracker] = ()) -> None:
        self.events, self.trackers = events, trackers

    def step(self, step: int, **values: float) -> None:
        """The numbers of a step that was taken."""
        self.events.write("step", step=step, **values)
        self._track("train", step, values)

    def validation(self, step: int, loss: float) -> None:
        """The loss on the validation rows."""
        self.events.write("validation", step=step, loss=loss)
        self._track("validation", step, {"loss": loss})

    def completions(self, step: int, scores: Mapping[str, float], samples: Any) -> None:
        """What the model writes at this step, and how good it is."""
        self.events.write("completions", step=step, scores=dict(scores), samples=samples)
        self._track("validation", step, scores)
        shown = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
        note(f"step {step}: {shown or 'not scored, as there are no metrics'}")
        for sample in samples[:1]:
            note("\n".join(f"  {label}: {_line(sample[key])}" for label, key in _SHOWN.items()))

    def said(self, event: str, step: int, reason: str) -> None:
        """Something that happened, in a sentence."""
        self.events.write(event, step=step, reason=reason)
        note(reason)

    def finish(self) -> None:
        """Let go of the trackers."""
        for tracker in self.trackers:
            tracker.finish()

    def _track(self, section: str, step: int, values: Mapping[str, float]) -> None:
        for tracker in self.trackers:
            tracker.log({f"{section}/{name}": value for name, value in values.items()}, step)


def _line(text: str, most: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."
