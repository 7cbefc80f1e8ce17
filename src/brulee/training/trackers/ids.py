"""trackers/ids.json: each tracker's id of this run, so that a resumed run is found again."""

from __future__ import annotations

import json
from pathlib import Path

from brulee.errors import InputError
from brulee.textfile import write_text


class Ids:
    """The ids file in a run's folder; it also keeps the run's name if the folder is renamed."""

    def __init__(self, run: Path) -> None:
        self.folder = run / "trackers"
        self._file = self.folder / "ids.json"
        self.run, self.ids = run.name, dict[str, str]()
        if self._file.is_file():
            self._read()

    def keep(self) -> None:
        """Write the file atomically."""
        values = {"run": self.run, "ids": self.ids}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self._file, json.dumps(values, indent=2) + "\n")

    def _read(self) -> None:
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
            self.run, self.ids = str(found["run"]), dict(found["ids"])
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{self._file}: not the run and ids that brulee writes; delete it, and the "
                "trackers begin new runs."
            ) from None
