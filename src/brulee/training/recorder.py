"""Reports on a training in progress: events.jsonl always, trackers if requested."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from brulee.errors import AskedToStopError
from brulee.progress import note
from brulee.training.events import EventLog, read_events
from brulee.training.trackers.base import Outcome, Tracker, words

_SHOWN = {"prompt": "prompt", "writes": "output", "should": "reference"}
# Opens the trackers of a training that continues after a step.
OpenTrackers = Callable[[int], Iterable[Tracker]]


class Recorder:
    """Writes events, passes their numbers to trackers, and prints what the user should know."""

    def __init__(self, events: EventLog, opened: OpenTrackers | None = None) -> None:
        self.events = events
        self._opened = opened
        self._trackers: list[Tracker] = []

    @contextmanager
    def tracked(self, step: int) -> Iterator[None]:
        """Open the trackers of a training that continues after `step`, and report its outcome."""
        outcome: Outcome = "failed"
        try:
            for tracker in self._opened(step) if self._opened else ():
                self._trackers.append(tracker)
            self._tell_again()
            yield
            outcome = "finished"
        except (AskedToStopError, KeyboardInterrupt):
            outcome = "stopped"
            raise
        finally:
            self._let_go(outcome)

    def step(self, step: int, **values: float) -> None:
        """The numbers of a step that was taken."""
        self.events.write("step", step=step, **values)
        self._track("train", step, values)

    def validation(self, step: int, loss: float) -> None:
        """The loss on the validation rows."""
        self.events.write("validation", step=step, loss=loss)
        self._track("validation", step, {"loss": loss})

    def completions(self, step: int, scores: Mapping[str, float], samples: Any) -> None:
        """The model's outputs at this step, and their scores."""
        self.events.write("completions", step=step, scores=dict(scores), samples=samples)
        self._track("validation", step, scores)
        shown = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
        note(f"step {step}: {shown or 'not scored, as there are no metrics'}")
        for sample in samples[:1]:
            note("\n".join(f"  {label}: {_line(sample[key])}" for label, key in _SHOWN.items()))

    def said(self, event: str, step: int, reason: str) -> None:
        """Record and print an event, as a sentence."""
        self.events.write(event, step=step, reason=reason)
        note(reason)

    def _tell_again(self) -> None:
        """Send earlier events again: a tracker may be new, or have lost data in a kill."""
        if not self._trackers:
            return
        for event in read_events(self.events.path):
            kind, step = event.pop("event"), event.pop("step", 0)
            if kind == "step":
                self._track("train", step, event)
            elif kind == "validation":
                self._track("validation", step, event)
            elif kind == "completions":
                self._track("validation", step, event["scores"])

    def _let_go(self, outcome: Outcome) -> None:
        while self._trackers:
            tracker = self._trackers.pop()
            try:
                tracker.finish(outcome)
            except Exception as error:
                note(f"the tracker {tracker.name!r} failed as it was closed: {words(error)}")

    def _track(self, section: str, step: int, values: Mapping[str, float]) -> None:
        """Pass values to the trackers; one that fails is dropped: it must not end the training."""
        named = {f"{section}/{name}": value for name, value in values.items()}
        for tracker in tuple(self._trackers):
            try:
                tracker.log(named, step)
            except Exception as error:
                self._trackers.remove(tracker)
                said = f"the tracker {tracker.name!r} failed and is left out from here on"
                self.said("tracker_lost", step, f"step {step}: {said}: {words(error)}")


def _line(text: str, most: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."
