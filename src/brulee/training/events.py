"""events.jsonl: one line per step, appended as it happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class EventLog:
    """Appends events to a file; after a resume, forgets those that the checkpoint does not know.

    `writes`: False in all but one of several processes.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path, self.writes = path, writes

    def write(self, event: str, **values: Any) -> None:
        """Append one event as a line of JSON."""
        if not self.writes:
            return
        line = json.dumps({"event": event, **values})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def rewind(self, step: int) -> None:
        """Drop events past a step: they belong to work that was lost and is done again."""
        if not self.writes:
            return
        kept = [line for line in read_events(self.path) if line.get("step", 0) <= step]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        aside = self.path.with_suffix(".tmp")
        aside.write_text(text, encoding="utf-8")
        aside.replace(self.path)


def read_events(path: Path) -> list[dict[str, Any]]:
    """Every whole event of a file, in order; a last line cut short by a kill is left out."""
    if not path.is_file():
        return []
    events = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise
    return events
