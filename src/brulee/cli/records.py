"""Read texts from a file: one per line of .txt, one per JSON value of .jsonl."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brulee.data.json_text import parse_json
from brulee.errors import InputError
from brulee.textfile import read_text


@dataclass(frozen=True)
class Record:
    """One value of a file; `place` is its file and line, for messages."""

    place: str
    value: Any


def read_records(path: Path) -> list[Record]:
    """The lines of a .txt file as strings, or the values of a .jsonl file.

    A blank line is an empty text in .txt, since line N must match line N of another file, and is
    skipped in .jsonl. Raises InputError for a missing or empty file, another suffix, bytes that
    are not UTF-8, or a malformed line (by number).
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    if path.suffix not in {".txt", ".jsonl"}:
        raise InputError(f"{path}: unknown kind of file {path.suffix!r}; valid: .txt, .jsonl.")
    lines = read_text(path).split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise InputError(f"{path}: the file is empty.")
    as_text = path.suffix == ".txt"
    return [
        Record(
            f"{path}, line {n}", line.removesuffix("\r") if as_text else parse_json(line, path, n)
        )
        for n, line in enumerate(lines, start=1)
        if as_text or line.strip()
    ]


def texts(records: Sequence[Record], keys: Sequence[str]) -> list[str]:
    """One text per record: the string itself, or the value of the first of `keys` it has.

    Raises InputError for a record without such a text.
    """
    return [_text(record.place, _pick(record, keys)) for record in records]


def text_lists(records: Sequence[Record], keys: Sequence[str]) -> list[list[str]]:
    """One list of texts per record; a single text becomes a list of one.

    Raises InputError for an empty list, and as `texts`.
    """
    found = []
    for record in records:
        value = _pick(record, keys)
        several = value if isinstance(value, list) else [value]
        if not several:
            raise InputError(f"{record.place}: the list of texts is empty.")
        found.append([_text(record.place, one) for one in several])
    return found


def _pick(record: Record, keys: Sequence[str]) -> Any:
    if not isinstance(record.value, dict):
        return record.value
    for key in keys:
        if key in record.value:
            return record.value[key]
    present = ", ".join(map(repr, record.value)) or "none"
    wanted = " or ".join(map(repr, keys))
    raise InputError(f"{record.place}: needs the key {wanted}; keys present: {present}.")


def _text(place: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"{place}: a text is needed here, not {json.dumps(value)[:60]}.")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InputError(f"{place}: the text contains a lone surrogate, which is not a character.")
    return value
