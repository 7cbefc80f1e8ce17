"""Reads one data file into an Arrow table, with the line of every row."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from brulee.data.delimited import delimited
from brulee.data.raw import Piece, Raw, not_utf8, repeated_key
from brulee.data.tables import check_table, to_table, to_table_by_parts
from brulee.data.text_files import document, sections
from brulee.errors import InputError
from brulee.progress import bar

_SHEETS = (".xlsx", ".xls", ".ods", ".numbers")
# Bytes of JSON Lines parsed at a time; as Python objects they take four times as much.
_PART = 16_000_000
_WORTH_A_BAR = 20  # megabytes


def read_file(path: Path, label: str, limit: int | None = None, numbered: bool = False) -> Piece:
    """Read the first `limit` rows of a file of a kind in `CONTAINERS`, compressed or not.

    `numbered`: a CSV or TSV file has no header, and its columns are called 1, 2, ... Raises
    InputError naming the file, and the line or row, for anything malformed in it.
    """
    container = container_of(path)
    if container is None:
        valid = ", ".join(CONTAINERS)
        hint = " Save its sheet as .csv." if path.suffix.lower() in _SHEETS else ""
        raise InputError(
            f"{label}: not a data file; valid: {valid} (the text ones also .gz and .zst).{hint}"
        )
    source = _raw(path, label)
    if source.blank:
        source.fail("the file is empty.")
    readers = CONTAINERS | _NUMBERED if numbered else CONTAINERS
    piece = readers[container](source, limit)
    if piece.table.num_rows == 0 or piece.table.num_columns == 0:
        source.fail("the file holds no rows.")
    if container in _BINARY:
        check_table(piece.table, label)
    return piece


def read_document(path: Path, label: str) -> str:
    """A whole text file, compressed or not, as one document, which may be empty."""
    return document(_written(_raw(path, label)))


def read_lines(path: Path, label: str) -> list[str]:
    """The lines of a text file, compressed or not, without line ends; InputError if it is empty."""
    source = _raw(path, label)
    if source.blank:
        source.fail("the file is empty.")
    lines = source.text().removesuffix("\n").split("\n")
    return [line.removesuffix("\r") for line in lines]


def container_of(path: Path) -> str | None:
    """The suffix that decides how a file is read; None for a file that is not data."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = bool(suffixes) and suffixes[-1] in _PACKED
    last = suffixes[-2:-1] if packed else suffixes[-1:]
    if not last or last[0] not in CONTAINERS or (packed and last[0] in _BINARY):
        return None
    return last[0]


def digest(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _raw(path: Path, label: str) -> Raw:
    return Raw(label, path, _PACKED.get(path.suffix.lower()))


def _gunzip(label: str, data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise InputError(f"{label}: not a whole gzip file.") from None


def _unzstd(label: str, data: bytes) -> bytes:
    import pyarrow as pa

    try:
        unpacked: bytes = pa.CompressedInputStream(pa.BufferReader(data), "zstd").read()
    except OSError:
        raise InputError(f"{label}: not a whole zstd file.") from None
    return unpacked


def _jsonl(source: Raw, limit: int | None) -> Piece:
    lines: list[int] = []

    def place(i: int) -> str:
        return f"{source.label}, line {lines[i]}"

    # With a limit, the number of megabytes to read is not known.
    megabytes = source.megabytes if limit is None else 0
    with bar(f"Reading {source.label}", megabytes, "MB", _WORTH_A_BAR) as progress:
        table = to_table_by_parts(_parts(source, limit, lines, progress.advance), place)
    if table is None:
        lines.clear()
        every = [record for part in _parts(source, limit, lines) for record in part]
        table = to_table(every, place)
    return Piece(table, lines)


def _parts(
    source: Raw,
    limit: int | None,
    lines: list[int],
    advance: Callable[[float], None] = lambda _megabytes: None,
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows in parts, appending their line numbers to `lines`."""
    part: list[dict[str, Any]] = []
    size = 0
    for number, line, count in _numbered(source):
        if limit is not None and len(lines) == limit:
            break
        value = _json(source, line, number)
        if not isinstance(value, dict):
            source.fail(f"a row is a JSON object, but this is {_kind(value)}.", number)
        part.append(value)
        lines.append(number)
        size += count
        if size >= _PART:
            yield part
            advance(size / 1e6)
            part, size = [], 0
    if part:
        yield part
        advance(size / 1e6)


def _numbered(source: Raw) -> Iterator[tuple[int, str, int]]:
    """Yield the number, the text and the size in bytes of each line that is not blank."""
    with source.opened() as file:
        for number, ended in enumerate(file, start=1):
            raw = ended.removesuffix(b"\n")
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                source.fail(not_utf8(raw, error.start), number)
            if line.strip():
                yield number, line, len(ended)


def _json(source: Raw, text: str, first_line: int | None = None) -> Any:
    """Parse a JSON text; `first_line` is its line number if it is one line of a file."""

    def refuse(constant: str) -> NoReturn:
        line = (first_line or 1) + _lines_before(constant, text)
        source.fail(f"not valid JSON: {constant} is not a JSON number.", line)

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = repeated_key(pairs)
            source.fail(f"the key {twice!r} is given twice in one object.", first_line)
        return found

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=distinct)
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at").removesuffix(" starting")
        at = f"{what[:1].lower()}{what[1:]} at column {error.colno}"
        source.fail(f"not valid JSON: {at}.", (first_line or 1) + error.lineno - 1)
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


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and (not value or isinstance(value[0], dict))


def _kind(value: Any) -> str:
    names = {list: "an array", dict: "an object", str: "a string", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")


def _parquet(source: Raw, limit: int | None) -> Piece:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(source.data))
    except (pa.ArrowInvalid, OSError):
        source.fail("not a whole parquet file.")
    return Piece(table.slice(0, limit), None)


def _arrow(source: Raw, limit: int | None) -> Piece:
    import pyarrow as pa

    buffer = pa.BufferReader(source.data)
    # `datasets` writes the stream form, most others the file form, under the same suffix.
    open_form = pa.ipc.open_file if source.data.startswith(b"ARROW1") else pa.ipc.open_stream
    try:
        table = open_form(buffer).read_all()
    except (pa.ArrowInvalid, OSError):
        source.fail("not a whole Arrow file.")
    return Piece(table.slice(0, limit), None)


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
        source.fail(
            "the text holds a NUL character; remove it, or save the file as UTF-8 "
            "(iconv -f UTF-16LE -t UTF-8, if that is what it is).",
            source.data.count(b"\n", 0, at) + 1,
        )
    return text


_PACKED = {".gz": _gunzip, ".zst": _unzstd}
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
}
_NUMBERED: dict[str, Callable[[Raw, int | None], Piece]] = {
    ".csv": delimited(",", "comma", numbered=True),
    ".tsv": delimited("\t", "tab", numbered=True),
}
