"""events.jsonl: one line per event, appended as it happens."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from brulee.errors import InputError, StoppedError
from brulee.textfile import write_text


class EventLog:
    """Appends events to a file; after a resume, drops those newer than the checkpoint.

    `writes`: False in all but one of several processes.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path, self.writes = path, writes

    def write(self, event: str, **values: Any) -> None:
        """Append one event as a line of JSON.

        Raises StoppedError if the run's folder is gone.
        """
        if not self.writes:
            return
        line = json.dumps({"event": event, **values})
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except FileNotFoundError:
            raise StoppedError(
                f"{self.path.parent}: the run's folder was removed or renamed while it trained; "
                "put it back to continue, or start again."
            ) from None

    def rewind(self, step: int, again: Collection[str] = ()) -> None:
        """Drop events after a step, and its own of the kinds that come `again`.

        That work was lost and will be repeated.
        """
        if not self.writes:
            return
        kept = [
            event
            for event in read_events(self.path)
            if (at := event.get("step", 0)) < step or (at == step and event["event"] not in again)
        ]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))


def read_events(path: Path) -> list[dict[str, Any]]:
    """All complete events of a file, in order; a last line cut short by a kill is skipped.

    Raises InputError for any other line that is not an event.
    """
    if not path.is_file():
        return []
    found = [_event(line) for line in path.read_bytes().splitlines()]
    for number, event in enumerate(found[:-1], start=1):
        if event is None:
            raise InputError(
                f"{path}, line {number}: damaged: not the JSON of an event; delete this line, and "
                "the training continues without it."
            )
    return [event for event in found if event is not None]


def _event(line: bytes) -> dict[str, Any] | None:
    """The event in a line; None if the line is incomplete."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None
