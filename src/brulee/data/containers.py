"""Reads one data file into an Arrow table, with the line of every row."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from brulee.data.delimited import delimited
from brulee.data.json_items import NotItemsError, items
from brulee.data.json_text import RepeatedKeyError, distinct, no_number
from brulee.data.raw import HOLDS_NUL, PACKED, Meter, Piece, Raw, not_utf8
from brulee.data.table_parts import in_parts, to_table_by_parts
from brulee.data.tables import check_table, to_table
from brulee.data.text_files import document, sections
from brulee.errors import InputError
from brulee.progress import bar

if TYPE_CHECKING:
    import pyarrow as pa

_SHEETS = (".xlsx", ".xls", ".ods", ".numbers")
# The first line of a JSON text over several lines, and the advice for one called .jsonl.
_BEGINNINGS = ("[", "{", "[{")
_NAMED = " In a .jsonl file every line is a row; one JSON text with all of them is called .json."
# Bytes of JSON parsed at a time: few enough that their Python objects stay in a processor's cache.
_PART = 2_000_000
_WORTH_A_BAR, _WORTH_A_BAR_OF_HASHING = 20, 500  # megabytes
_CHUNK = 1 << 20
# `json.loads` with these arguments would make a decoder for each line.
_read_value = json.JSONDecoder(object_pairs_hook=distinct, parse_constant=no_number).raw_decode


def read_file(path: Path, label: str, limit: int | None = None, numbered: bool = False) -> Piece:
    """Read the first `limit` rows of a file of a kind in `CONTAINERS`, compressed or not.

    `numbered`: a CSV or TSV file has no header, and its columns are called 1, 2, ... Raises
    InputError naming the file, and the line or row, for anything malformed in it: NoRowsError
    if it holds no rows.
    """
    container = container_of(path)
    if container is None:
        valid, packed = ", ".join(CONTAINERS), ", ".join(PACKED)
        hint = " Save its sheet as .csv." if path.suffix.lower() in _SHEETS else ""
        raise InputError(
            f"{label}: not a data file; valid: {valid} (the text ones also {packed}).{hint}"
        )
    readers = CONTAINERS | _NUMBERED if numbered else CONTAINERS
    megabytes = path.stat().st_size / 1e6
    # With a limit, the number of megabytes to read is not known.
    total = megabytes if limit is None else 0
    with bar(f"Reading {label}", total, "MB", _WORTH_A_BAR) as progress:
        source = Raw(label, path, Meter(progress.advance))
        if source.blank:
            source.fail_empty("the file is empty.")
        piece = readers[container](source, limit)
    if piece.table.num_rows == 0 or piece.table.num_columns == 0:
        source.fail_empty("the file holds no rows.")
    if container in _BINARY:
        check_table(piece.table, label)
    return piece


def read_document(path: Path, label: str) -> str:
    """A whole text file, compressed or not, as one document, which may be empty."""
    return document(_written(Raw(label, path)))


def read_lines(path: Path, label: str) -> list[str]:
    """The lines of a text file, compressed or not, without line ends; InputError if it is empty."""
    source = Raw(label, path)
    if source.blank:
        source.fail("the file is empty.")
    lines = source.text().removesuffix("\n").split("\n")
    return [line.removesuffix("\r") for line in lines]


def container_of(path: Path) -> str | None:
    """The suffix that decides how a file is read; None for a file that is not data."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = bool(suffixes) and suffixes[-1] in PACKED
    last = suffixes[-2:-1] if packed else suffixes[-1:]
    if not last or last[0] not in CONTAINERS or (packed and last[0] in _BINARY):
        return None
    return last[0]


def digest(path: Path, label: str) -> str:
    """The sha256 of a file's bytes."""
    found = hashlib.sha256()
    with (
        path.open("rb") as file,
        bar(f"Hashing {label}", path.stat().st_size / 1e6, "MB", _WORTH_A_BAR_OF_HASHING) as shown,
    ):
        while chunk := file.read(_CHUNK):
            found.update(chunk)
            shown.advance(len(chunk) / 1e6)
    return found.hexdigest()


def _jsonl(source: Raw, limit: int | None) -> Piece:
    lines = array("q")

    def place(i: int) -> str:
        return f"{source.label}, line {lines[i]}"

    table = to_table_by_parts(in_parts(_objects(source, limit, lines), _PART), place)
    if table is None:
        del lines[:]
        table = to_table([row for row, _ in _objects(source, limit, lines)], place)
    without_gaps = len(lines) and lines[-1] - lines[0] < len(lines)
    return Piece(table, range(lines[0], lines[-1] + 1) if without_gaps else lines)


def _objects(
    source: Raw, limit: int | None, lines: array[int]
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield each row and its size in bytes, appending its line number to `lines`."""
    for number, line, count in _numbered(source):
        if limit is not None and len(lines) == limit:
            break
        try:
            value, end = _read_value(line)
        except (ValueError, RecursionError):
            value = _json(source, line, number)  # it says what is wrong
        else:
            if end < len(line) and line[end:].strip(" \t\r"):
                value = _json(source, line, number)
        if not isinstance(value, dict):
            hint = _NAMED if isinstance(value, list) and not lines else ""
            source.fail(f"a row is a JSON object, but this is {_kind(value)}.{hint}", number)
        lines.append(number)
        yield value, count


def _numbered(source: Raw) -> Iterator[tuple[int, str, int]]:
    """Yield the number, the text and the size in bytes of each line that is not blank."""
    with source.opened() as file:
        for number, ended in enumerate(file, start=1):
            raw = ended.removesuffix(b"\n")
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                source.fail(not_utf8(raw, error.start), number)
            if line and not line.isspace():
                yield number, line, len(ended)


def _json(source: Raw, text: str, first_line: int | None = None) -> Any:
    """Parse a JSON text; `first_line` is its line number if it is one line of a file."""

    def refuse(constant: str) -> NoReturn:
        line = (first_line or 1) + _lines_before(constant, text)
        source.fail(f"not valid JSON: {constant} is not a JSON number.", line)

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=distinct)
    except json.JSONDecodeError as error:
        if "\0" in text:
            nul = error.lineno if first_line else text.count("\n", 0, text.index("\0")) + 1
            source.fail(f"not valid JSON: it holds {HOLDS_NUL}", (first_line or 1) + nul - 1)
        what = error.msg.removesuffix(" at").removesuffix(" starting")
        at = f"{what[:1].lower()}{what[1:]} at column {error.colno}"
        begun = first_line is not None and text.strip() in _BEGINNINGS
        hint = _NAMED if begun else ""
        source.fail(f"not valid JSON: {at}.{hint}", (first_line or 1) + error.lineno - 1)
    except RepeatedKeyError as error:
        source.fail(f"{error}.", first_line)
    except (ValueError, RecursionError):
        source.fail("not usable JSON: nested too deeply or a number too long.", first_line)


def _is_lines(source: Raw) -> bool:
    """Whether a .json file holds one object per line, as from pandas' `to_json(lines=True)`."""
    with source.opened() as file:
        lines = (line for line in file if not line.isspace())
        first, second = next(lines, b""), next(lines, None)
    if second is None:
        return False
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _lines_before(constant: str, text: str) -> int:
    """The number of line breaks before a constant such as NaN outside of strings."""
    found = re.finditer(rf'"(?:[^"\\]|\\.)*"|(?P<bare>{constant})', text)
    return next(text.count("\n", 0, f.start()) for f in found if f["bare"])


def _json_array(source: Raw, limit: int | None) -> Piece:
    if _is_lines(source):
        return _jsonl(source, limit)
    try:
        parts = _item_parts(source, limit)
        table = to_table_by_parts(parts, lambda i: f"{source.label}, row {i + 1}")
    except NotItemsError:
        table = None  # read as a whole, which finds other forms, and the line of what is wrong
    if table is not None:
        return Piece(table, None)
    value = _json(source, source.text())
    if isinstance(value, dict) and {"Definition", "Instances"} <= value.keys():
        value = [value]  # Natural Instructions: a file is one task
    if isinstance(value, dict):
        arrays = {key: item for key, item in value.items() if _is_rows(item)}
        if len(arrays) != 1:
            found = f"found {', '.join(arrays)}" if arrays else "found none"
            source.fail(f"an object has to wrap one array of objects; {found}.")
        value = next(iter(arrays.values()))
    if not isinstance(value, list):
        source.fail(f"a .json file is an array of objects, but this is {_kind(value)}.")
    for number, item in enumerate(value, start=1):
        if not isinstance(item, dict):
            raise InputError(
                f"{source.label}, row {number}: a row is a JSON object, but this is {_kind(item)}."
            )
    return Piece(to_table(value[:limit], lambda i: f"{source.label}, row {i + 1}"), None)


def _item_parts(source: Raw, limit: int | None) -> Iterator[list[dict[str, Any]]]:
    """Yield the objects of an array in parts. Raises NotItemsError for any other file."""
    with source.opened() as file:
        yield from in_parts(itertools.islice(items(file), limit), _PART)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and (not value or isinstance(value[0], dict))


def _kind(value: Any) -> str:
    names = {list: "an array", dict: "an object", str: "a string", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")


def _parquet(source: Raw, limit: int | None) -> Piece:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(source.path) as held:
            batches = _first(source, held.iter_batches(), limit, held.metadata.num_rows)
            return Piece(pa.Table.from_batches(batches, held.schema_arrow).slice(0, limit), None)
    except (pa.ArrowInvalid, OSError):
        source.fail("not a whole parquet file.")


def _arrow(source: Raw, limit: int | None) -> Piece:
    import pyarrow as pa

    # `datasets` writes the stream form, most others the file form, under the same suffix.
    with source.opened() as start:
        is_file = start.read(6) == b"ARROW1"
    try:
        with pa.OSFile(str(source.path)) as file:
            if is_file:
                held = pa.ipc.open_file(file)
                every = (held.get_batch(i) for i in range(held.num_record_batches))
                batches = _first(source, every, limit, held.count_rows())
            else:
                held = pa.ipc.open_stream(file)
                batches = _first(source, held, limit)
            return Piece(pa.Table.from_batches(batches, held.schema).slice(0, limit), None)
    except (pa.ArrowInvalid, OSError):
        source.fail("not a whole Arrow file.")


def _first(
    source: Raw, batches: Iterable[pa.RecordBatch], limit: int | None, most: int | None = None
) -> list[pa.RecordBatch]:
    """The first of a file's batches, with at least `limit` rows; it has `most` rows, if known."""
    found: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        found.append(batch)
        rows += batch.num_rows
        if most:
            source.reach(rows / most)
        if limit is not None and rows >= limit:
            break
    return found


def _text(source: Raw, limit: int | None) -> Piece:
    found = sections(_written(source))[:limit]
    lines = [line for line, _ in found]
    table = to_table(
        [{"text": text} for _, text in found], lambda i: f"{source.label}, line {lines[i]}"
    )
    return Piece(table, lines)


def _written(source: Raw) -> str:
    """The whole of a plain text; InputError naming the line of a NUL character."""
    text = source.text()
    at = source.data.find(b"\0")
    if at >= 0:
        source.fail(f"the text holds {HOLDS_NUL}", source.data.count(b"\n", 0, at) + 1)
    return text


_BINARY = (".parquet", ".arrow")
CONTAINERS: dict[str, Callable[[Raw, int | None], Piece]] = {
    ".jsonl": _jsonl,
    ".json": _json_array,
    ".csv": delimited(",", "comma, a semicolon or a tab"),
    ".tsv": delimited("\t", "tab"),
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".txt": _text,
    ".md": _text,
    **dict.fromkeys((".ndjson", ".jsonlines"), _jsonl),
}
_NUMBERED: dict[str, Callable[[Raw, int | None], Piece]] = {
    ".csv": delimited(",", "comma", numbered=True),
    ".tsv": delimited("\t", "tab", numbered=True),
}
