"""Converts records to an Arrow table, with errors that name the row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from brulee.data.packing import packed
from brulee.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

Place = Callable[[int], str]
T = TypeVar("T")
# Beyond these the data is malformed, and Arrow and `datasets` fail or take minutes.
MOST_KEYS, DEEPEST = 1000, 32


def to_table(records: Sequence[Mapping[str, Any]], place: Place) -> pa.Table:
    """An Arrow table with one column per key, null where a record lacks it.

    Tools and tool calls of chats become JSON text (`packed`). Raises InputError naming the row and
    column of a value whose type differs from the rows before it, and naming a row that has text not
    valid in UTF-8, is nested too deeply or has too many keys.
    """
    import pyarrow as pa

    for i, record in enumerate(records):
        check_value(record, place, i)
    records = packed(records)
    names = dict.fromkeys(key for record in records for key in record)
    if len(names) > MOST_KEYS and records:
        raise _too_many_keys(place(len(records) - 1), len(names))
    table = pa.table({name: _column(name, [r.get(name) for r in records], place) for name in names})
    for column in table.schema:
        _check_type(column.type, column.name, place(0) if records else "")
    return table


def to_table_by_parts(
    parts: Iterable[Sequence[Mapping[str, Any]]], place: Place
) -> pa.Table | None:
    """Like `to_table` of all records, but with only one part of them in memory at a time.

    None if the result might differ in its types from `to_table`, or is an error.
    """
    import pyarrow as pa

    tables: list[pa.Table] = []
    types: dict[str, pa.DataType] = {}
    rows = 0
    for part in parts:
        try:
            table = to_table(part, after(rows, place))
        except InputError:
            return None
        for column in table.schema:
            known = types.setdefault(column.name, column.type)
            if pa.types.is_null(known):
                types[column.name] = column.type
            elif column.type not in (known, pa.null()):
                return None
        tables.append(table)
        rows += len(part)
    if not tables or len(types) > MOST_KEYS:
        return None
    return pa.concat_tables(tables, promote_options="default")


def in_parts(sized: Iterable[tuple[T, int]], most: int) -> Iterator[list[T]]:
    """Divide items, given with their sizes, into lists that reach the size `most`."""
    part: list[T] = []
    size = 0
    for item, count in sized:
        part.append(item)
        size += count
        if size >= most:
            yield part
            part, size = [], 0
    if part:
        yield part


def after(rows: int, place: Place) -> Place:
    """The places of rows that come after this many others."""
    return lambda i: place(rows + i)


def join_tables(tables: Sequence[pa.Table], names: Sequence[str]) -> pa.Table:
    """Concatenate tables under one schema; InputError for a column of two types."""
    import pyarrow as pa

    for table, name in zip(tables[1:], names[1:], strict=True):
        for column in set(table.column_names) & set(tables[0].column_names):
            given, before = table.schema.field(column).type, tables[0].schema.field(column).type
            try:
                pa.unify_schemas(
                    [pa.schema([(column, before)]), pa.schema([(column, given)])],
                    promote_options="permissive",
                )
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                raise InputError(
                    f"{name}: column {column!r} holds {given} but {names[0]} holds {before} there."
                ) from None
    return pa.concat_tables(tables, promote_options="permissive")


def check_table(table: pa.Table, label: str) -> None:
    """Reject an Arrow table that cannot be read row by row like a text file.

    Raises InputError naming the column if it is duplicate, its type has no Python values, or it has
    invalid UTF-8 or NUL characters; and for too many columns.
    """
    import pyarrow as pa

    if table.num_columns > MOST_KEYS:
        raise _too_many_keys(label, table.num_columns)
    names = table.column_names
    check_value(names, lambda _: f"{label}: the name of a column")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{label}: two columns are called {name!r}.")
    for field, column in zip(table.schema, table.columns, strict=True):
        _check_type(field.type, field.name, label)
        try:
            column.validate(full=True)
            if re.search("date|time|duration", str(field.type)):
                column.to_pylist()
        except (pa.ArrowInvalid, OverflowError, ValueError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise InputError(f"{label}: column {field.name!r}: {reason}.") from None
        for chunk in column.chunks:
            _check_nul(chunk, f"{label}: column {field.name!r}")


def check_value(value: Any, place: Place, row: int = 0, depth: int = 0) -> None:
    """Reject invalid content at any depth of a value.

    Raises InputError naming the row for NUL characters, lone surrogates, too many keys and too deep
    nesting.
    """
    if isinstance(value, str):
        _check_text(value, place, row)
    elif isinstance(value, list | dict):
        if depth > DEEPEST:
            raise InputError(f"{place(row)}: nested more than {DEEPEST} levels deep.")
        if isinstance(value, dict):
            if len(value) > MOST_KEYS:
                raise _too_many_keys(place(row), len(value))
            check_value(list(value), place, row, depth)
            value = value.values()
        for item in value:
            check_value(item, place, row, depth + 1)


def _check_type(kind: pa.DataType, column: str, where: str, depth: int = 0) -> None:
    """Reject types that cannot be read as Python values."""
    import datasets
    import pyarrow as pa

    if depth > DEEPEST:
        raise InputError(f"{where}: column {column!r} is nested more than {DEEPEST} levels deep.")
    if kind.num_fields > MOST_KEYS:
        raise _too_many_keys(f"{where}: column {column!r}", kind.num_fields)
    if pa.types.is_struct(kind) or pa.types.is_list(kind):
        for number in range(kind.num_fields):
            _check_type(kind.field(number).type, column, where, depth + 1)
        return
    try:
        datasets.Features.from_arrow_schema(pa.schema([("x", kind)]))
    except (ValueError, TypeError, NotImplementedError):
        raise InputError(
            f"{where}: column {column!r} holds {kind}, which cannot be read."
        ) from None


def _check_nul(array: pa.Array, where: str) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        if pc.any(pc.match_substring(array, "\x00")).as_py():
            raise InputError(f"{where}: a text holds a NUL character (\\u0000); remove it.")
    elif pa.types.is_struct(kind):
        for number in range(kind.num_fields):
            _check_nul(array.field(number), where)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        _check_nul(array.values, where)


def _column(name: str, values: list[Any], place: Place) -> pa.Array:
    import pyarrow as pa

    column = _array(values)
    if column is not None:
        _check_finite(name, column, place)
        return column
    good, bad = 0, len(values)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if _array(values[:middle]) is not None else (good, middle)
    shown = repr(values[good])
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    if good == 0:
        raise InputError(f"{place(0)}: column {name!r} holds {shown}, which no column can hold.")
    kind = pa.array(values[:good]).type
    raise InputError(
        f"{place(good)}: column {name!r} holds {shown} but the rows before it hold {kind}; "
        "one column has one type."
    )


def _check_finite(name: str, column: pa.Array, place: Place) -> None:
    """Reject numbers such as 1e999, which are read as infinite."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(column.type):
        row = pc.index(pc.is_inf(column), True).as_py()
        if row >= 0:
            raise InputError(f"{place(row)}: column {name!r} holds a number too large to be read.")


def _array(values: list[Any]) -> pa.Array | None:
    """The values as an Arrow array; None if they have no common type."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return None


def _too_many_keys(where: str, count: int) -> InputError:
    return InputError(
        f"{where}: {count:,} keys, and a row has at most {MOST_KEYS:,}; where keys are data, write "
        "a list of objects."
    )


def _check_text(value: str, place: Place, row: int) -> None:
    if "\x00" in value:
        raise InputError(f"{place(row)}: the text holds a NUL character (\\u0000); remove it.")
    if not _encodes(value):
        raise InputError(
            f"{place(row)}: the text contains a lone surrogate (\\ud800 to \\udfff), which is not "
            "a character; write the whole pair or the character itself."
        )


def _encodes(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
