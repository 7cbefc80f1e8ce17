"""Reads CSV and TSV files, with commas, semicolons or tabs as separators.

Leftovers of spreadsheets, rows of empty cells and columns without name or content, are dropped.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from brulee.data.allowed import MOST_KEYS
from brulee.data.raw import HOLDS_NUL, Piece, Raw
from brulee.data.table_parts import after, in_parts
from brulee.data.tables import to_table
from brulee.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_LONGEST_FIELD = 2**31 - 1
_INDEX = "index"
_PART: Final = 8_000_000  # characters converted at a time


class NamelessError(InputError):
    """A table without a header: its first line holds the values `first`."""

    def __init__(self, message: str, first: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.first = first


def delimited(
    delimiter: str, name: str, numbered: bool = False
) -> Callable[[Raw, int | None], Piece]:
    """A reader of tables with the separator `delimiter`, which messages call `name`.

    `numbered`: there is no header, and the columns are called 1, 2, ...
    """

    def read(source: Raw, limit: int | None) -> Piece:
        import pyarrow as pa

        own, told = _separator(source, delimiter, numbered)
        records = _records(source, own)
        if told:
            next(records)
        header_line, header = next(records, (0, []))
        if not header:
            source.fail_empty("the file holds no rows.")
        if numbered:
            records = itertools.chain([(header_line, header)], records)
            header = [str(number) for number in range(1, len(header) + 1)]
        else:
            _check_header(source, header, header_line, own, name)
        kept = itertools.islice(_even(source, records, len(header), numbered), limit)
        lines: list[int] = []
        cells = _cells(source, kept, len(header), lines)
        columns = dict(_named(source, header, header_line, cells))
        if not columns or not lines:
            source.fail_empty("the file holds no rows.")
        return Piece(pa.table({name: _typed(column) for name, column in columns.items()}), lines)

    return read


def _separator(source: Raw, delimiter: str, numbered: bool) -> tuple[str, bool]:
    """The separator of this file, and whether its first line declares it.

    In locales with a decimal comma, Excel writes CSV files with semicolons or tabs, sometimes after
    a line `sep=;`. Without such a line, the header decides: one without commas outside quotes is
    split at semicolons or tabs. A file without a header has the separator `delimiter`.
    """
    if delimiter != ",":
        return delimiter, False
    with source.opened() as file:
        said = re.match(rb"sep=([,;\t])\r?\n", file.readline(8))
    if said:
        return said[1].decode(), True
    if not numbered and _width(source, delimiter) == 1:
        for other in ";\t":
            if _width(source, other) > 1:
                return other, False
    return delimiter, False


def _width(source: Raw, delimiter: str) -> int:
    """The number of fields in the first record."""
    return len(next(_quoted(source, delimiter), (0, []))[1])


def _even(
    source: Raw, records: Iterator[tuple[int, list[str]]], width: int, numbered: bool
) -> Iterator[tuple[int, list[str]]]:
    """Yield the records, checking that each has `width` fields."""
    for line, fields in records:
        if len(fields) != width:
            found = f"{len(fields)} field{'s' if len(fields) != 1 else ''}"
            names = "first line has" if numbered else "header names"
            source.fail(f"{found}, but the {names} {width} columns.", line)
        yield line, fields


def _records(source: Raw, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The fields of each record, with the line on which it starts."""
    if delimiter != "\t" or b'"' not in source.data:
        return _quoted(source, delimiter)
    # In most TSV files a quotation mark is an ordinary character. Assume so if every line has the
    # same number of fields without quoting, and quoting would change that.
    plain = list(_unquoted(source, delimiter))
    widths = [len(fields) for _, fields in plain]
    if len(set(widths)) > 1:
        return _quoted(source, delimiter)
    try:
        quoted = list(_quoted(source, delimiter))
    except InputError:
        return iter(plain)
    return iter(quoted if [len(fields) for _, fields in quoted] == widths else plain)


def _unquoted(source: Raw, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(source.text().split("\n"), start=1):
        fields = line.removesuffix("\r").split(delimiter)
        if any(map(str.strip, fields)):
            yield number, fields


def _quoted(source: Raw, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    before = csv.field_size_limit(_LONGEST_FIELD)
    line = 1
    try:
        with source.opened() as file:
            text = io.TextIOWrapper(file, "utf-8", newline="")
            reader = csv.reader(text, delimiter=delimiter, strict=True)
            for fields in reader:
                if any(map(str.strip, fields)):
                    yield line, fields
                line = reader.line_num + 1
    except csv.Error as error:
        source.fail(f"not a valid table: {error}.", line)
    except UnicodeDecodeError:
        source.text()  # raises an error that names the line
        raise
    finally:
        csv.field_size_limit(before)


def _check_header(source: Raw, header: list[str], line: int, delimiter: str, name: str) -> None:
    """Reject a first line that is not a header; `_named` checks for missing names."""
    if len(header) > MOST_KEYS:
        source.fail(f"{len(header):,} columns, and a table has at most {MOST_KEYS:,}.", line)
    if any("\0" in cell for cell in header):
        source.fail(f"the header holds {HOLDS_NUL}", line)
    for cell in header:
        if re.fullmatch(r"[-+.\d]+", cell.strip()) or len(cell) > 100:
            raise NamelessError(_nameless(source, cell, line), header)
    for cell in header:
        if cell.strip() and header.count(cell) > 1:
            source.fail(f"the header names the column {cell!r} twice.", line)
    if len(header) == 1 and any(other in header[0] for other in ",;\t|" if other != delimiter):
        source.fail(f"one column named {header[0]!r}; the separator has to be a {name}.", line)


def _cells(
    source: Raw, records: Iterator[tuple[int, list[str]]], width: int, lines: list[int]
) -> list[pa.ChunkedArray]:
    """The cells of each column as texts, appending the line of each record to `lines`.

    Only one part of the file at a time is held as Python strings, which take several times as much.
    """
    import pyarrow as pa

    def place(i: int) -> str:
        return f"{source.label}, line {lines[i]}"

    columns = [str(at) for at in range(width)]
    tables = []
    sized = ((record, sum(map(len, record[1]))) for record in records)
    for part in in_parts(sized, _PART):
        rows = [dict(zip(columns, fields, strict=True)) for _, fields in part]
        before = len(lines)
        lines += [line for line, _ in part]
        tables.append(to_table(rows, after(before, place)))
    return pa.concat_tables(tables).columns if tables else []


def _named(
    source: Raw, header: list[str], line: int, columns: Sequence[pa.ChunkedArray]
) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Yield each column's name and cells, without columns that have neither.

    A first column of distinct numbers is an index, which pandas writes without a name.
    """
    for at, (name, cells) in enumerate(zip(header, columns, strict=False)):
        if name.strip():
            yield name, cells
        elif any(map(str.strip, _each(cells))):
            numbers = all(map(str.isdecimal, _each(cells)))
            distinct = numbers and len(set(_each(cells))) == len(cells)
            if at or not distinct or _INDEX in header:
                raise InputError(_nameless(source, name, line))
            yield _INDEX, cells


def _each(cells: pa.ChunkedArray) -> Iterator[str]:
    for chunk in cells.chunks:
        yield from chunk.to_pylist()


def _nameless(source: Raw, cell: str, line: int) -> str:
    shown = repr(cell if len(cell) <= 40 else cell[:37] + "...")
    return (
        f"{source.label}, line {line}: the first line has to name the columns, but it holds"
        f" {shown}; a file without such a line has the columns 1, 2, ..., as in "
        'data.columns: {text: "1"}.'
    )


def _typed(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers if every cell round-trips exactly through them, else the texts."""
    import pyarrow as pa

    for is_number, number, kind in (
        (_is_whole, int, pa.int64()),
        (_is_decimal, float, pa.float64()),
    ):
        if all(map(is_number, filter(None, _each(cells)))) and any(_each(cells)):
            chunks = (
                pa.array([number(cell) if cell else None for cell in chunk.to_pylist()], kind)
                for chunk in cells.chunks
            )
            return pa.chunked_array(list(chunks))
    return cells


def _is_whole(cell: str) -> bool:
    return re.fullmatch(r"0|-?[1-9][0-9]{0,17}", cell) is not None


def _is_decimal(cell: str) -> bool:
    return re.fullmatch(r"-?\d+\.\d+", cell) is not None and repr(float(cell)) == cell
