"""The rows of a benchmark's official files: TSV without quoting, CSV, JSON Lines; or the Hub's."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brulee import textfile
from brulee.data.json_text import parse_json
from brulee.errors import InputError, unknown


@dataclass(frozen=True)
class Row:
    """One row's values by column, and its place, for messages."""

    place: str
    values: Mapping[str, Any]

    def text(self, *names: str) -> str:
        """The text in the first of these columns that exists. Raises InputError for no text."""
        value = self.get(*names)
        if not isinstance(value, str):
            raise InputError(f"{self.place}: {names[0]!r} must be a text, not {value!r}.")
        return value

    def get(self, *names: str) -> Any:
        """The value in the first of these columns that exists. Raises InputError for none."""
        for name in names:
            if name in self.values:
                return self.values[name]
        held = ", ".join(map(str, self.values)) or "none"
        raise InputError(f"{self.place}: no column {' or '.join(names)!r}; it has {held}.")

    def number(self, *names: str) -> int:
        """The whole number, or its decimal text, in the first of these columns that exists.

        Raises InputError for anything else.
        """
        value = self.get(*names)
        whole = isinstance(value, int) or (isinstance(value, str) and value.isdecimal())
        if not whole or isinstance(value, bool):
            raise InputError(f"{self.place}: {names[0]!r} must be a whole number, not {value!r}.")
        return int(value)

    def label(self, labels: Sequence[str], *names: str) -> str:
        """The label given by name or number. Raises InputError for any other value."""
        value = self.get(*names)
        numbered = isinstance(value, int) and not isinstance(value, bool)
        if numbered and 0 <= value < len(labels):
            return str(labels[value])
        if numbered or value not in labels:
            raise unknown("label", value, labels, self.place)
        return str(value)

    def has(self, *names: str) -> bool:
        """Whether the row has one of these columns."""
        return any(name in self.values for name in names)


def read_tsv(file: Path, columns: Sequence[str] = ()) -> list[Row]:
    """Tab-separated rows without quoting; `columns` if the file has no header.

    Raises InputError for a line with another number of columns, as `read_csv` does.
    """
    lines = read_text(file).split("\n")
    if not lines[-1]:
        lines.pop()
    cells = [line.removesuffix("\r").split("\t") for line in lines]
    names = list(columns) or cells[0]
    start = 0 if columns else 1
    return [_row(file, n + 1, names, cells[n]) for n in range(start, len(cells))]


def read_csv(file: Path, columns: Sequence[str] = ()) -> list[Row]:
    """Comma-separated rows with optional quoting; `columns` if the file has no header.

    Raises InputError naming the line of what is not CSV.
    """
    reader = csv.reader(io.StringIO(read_text(file), newline=""), strict=True)
    rows = []
    try:
        names = list(columns) or next(reader)
        for cells in reader:
            rows.append(_row(file, reader.line_num, names, cells))
    except csv.Error as error:
        raise InputError(f"{file}, line {reader.line_num}: not valid CSV ({error}).") from None
    return rows


def read_jsonl(file: Path) -> list[Row]:
    """One JSON object per line. Raises InputError naming a line with anything else."""
    rows = []
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        place, values = f"{file}, line {number}", parse_json(line, file, number)
        if not isinstance(values, dict):
            raise InputError(f"{place}: a JSON object is expected, not {line.strip()[:40]!r}.")
        rows.append(Row(place, values))
    return rows


def read_json(file: Path) -> Row:
    """One JSON object in the whole file. Raises InputError for anything else."""
    values = parse_json(read_text(file), file)
    if not isinstance(values, dict):
        raise InputError(f"{file}: a JSON object is expected.")
    return Row(str(file), values)


def read_hub(name: str, split: str) -> list[Row]:
    """The rows of one split of a data set on the Hub, "name" or "name:config".

    Raises InputError if the Hub does not provide it, suggesting local files instead.
    """
    from brulee.data.hub import open_hub

    try:
        table = open_hub(name, split=split).table
    except InputError as error:
        raise InputError(
            f"{error} Or name the folder of the official files: --data DIR, or evaluate.data of "
            "a recipe."
        ) from None
    return [Row(f"{name} ({split}), row {i}", row) for i, row in enumerate(table.to_pylist())]


def read_text(file: Path) -> str:
    """The text of a file. Raises InputError if it is missing, empty or not UTF-8."""
    if not file.is_file():
        raise InputError(f"{file}: no such file.")
    text = textfile.read_text(file)
    if not text.strip():
        raise InputError(f"{file}: the file is empty.")
    return text


def check_folder(data: Path) -> None:
    """Raise InputError if the folder of the official files does not exist."""
    if not data.is_dir():
        raise InputError(f"{data}: no such folder; --data names the folder of the official files.")


def _row(file: Path, line: int, names: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) != len(names):
        raise InputError(
            f"{file}, line {line}: {len(cells)} columns where {len(names)} are expected "
            f"({', '.join(names)})."
        )
    return Row(f"{file}, line {line}", dict(zip(names, cells, strict=True)))
