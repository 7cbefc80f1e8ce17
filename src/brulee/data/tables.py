"""Converts records to an Arrow table, with errors that name the row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from brulee.data.allowed import (
    DEEPEST,
    FLAT,
    MOST_KEYS,
    Place,
    check_nul,
    check_value,
    has_infinite,
    surely_allowed,
    surely_clean,
    too_many_keys,
)
from brulee.data.packing import packed, turn_beside_text
from brulee.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


def to_table(records: Sequence[Mapping[str, Any]], place: Place) -> pa.Table:
    """An Arrow table with one column per key, null where a record lacks it.

    Tools and tool calls of chats become JSON text (`packed`). Raises InputError naming the row and
    column of a value whose type differs from the rows before it, and naming a row that has text not
    valid in UTF-8, is nested too deeply or has too many keys.
    """
    import pyarrow as pa

    table = _quickly(records)
    if table is None:
        for i, record in enumerate(records):
            check_value(record, place, i)
        records = packed(records)
        names = dict.fromkeys(chain.from_iterable(records))
        if len(names) > MOST_KEYS and records:
            raise too_many_keys(place(len(records) - 1), len(names))
        values = {name: [record.get(name) for record in records] for name in names}
        table = pa.table({name: _column(name, column, place) for name, column in values.items()})
    for column in table.schema:
        _check_type(column.type, column.name, place(0) if records else "")
    return table


def _quickly(records: Sequence[Mapping[str, Any]]) -> pa.Table | None:
    """The table of records without anything to refuse; None if there may be something.

    Texts are looked at as Arrow columns, which takes a tenth of the time of one value after the
    other, but does not say in which row a text is.
    """
    import pyarrow as pa

    names = dict.fromkeys(chain.from_iterable(records))
    if len(names) > MOST_KEYS:
        return None
    values = {name: [record.get(name) for record in records] for name in names}
    nested = [name for name, column in values.items() if not FLAT.issuperset(map(type, column))]
    if nested:
        if not all(surely_allowed(values[name]) for name in nested):
            return None
        records = packed(records)
        values |= {name: [record.get(name) for record in records] for name in nested}
    try:
        columns = {name: _array(column) for name, column in values.items()}
        found = {name: column for name, column in columns.items() if column is not None}
        table = pa.table(found)
    except UnicodeEncodeError:
        return None  # half of a surrogate pair
    clean = (surely_clean(column, name in nested) for name, column in found.items())
    if len(found) < len(names) or not all(clean):
        return None
    return None if any("\0" in name for name in names) else table


def join_tables(tables: Sequence[pa.Table], names: Sequence[str]) -> pa.Table:
    """Concatenate tables under one schema; InputError for a column of two types."""
    import pyarrow as pa

    known: dict[str, tuple[pa.DataType, str]] = {}
    for table, name in zip(tables, names, strict=True):
        for column in table.schema:
            before, where = known.setdefault(column.name, (column.type, name))
            if column.type == before:
                continue
            given, either = (pa.schema([(column.name, kind)]) for kind in (column.type, before))
            try:
                joined = pa.unify_schemas([either, given], promote_options="permissive")
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                raise InputError(
                    f"{name}: column {column.name!r} holds {column.type} but {where} holds "
                    f"{before} there."
                ) from None
            first = name if pa.types.is_null(before) else where
            known[column.name] = joined.field(0).type, first
    return pa.concat_tables(tables, promote_options="permissive")


def check_table(table: pa.Table, label: str) -> None:
    """Reject an Arrow table that cannot be read row by row like a text file.

    Raises InputError naming the column if it is duplicate, its type has no Python values, or it has
    invalid UTF-8 or NUL characters; and for too many columns.
    """
    import pyarrow as pa

    if table.num_columns > MOST_KEYS:
        raise too_many_keys(label, table.num_columns)
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
            check_nul(chunk, f"{label}: column {field.name!r}")


def _check_type(kind: pa.DataType, column: str, where: str, depth: int = 0) -> None:
    """Reject types that cannot be read as Python values."""
    import datasets
    import pyarrow as pa

    if depth > DEEPEST:
        raise InputError(f"{where}: column {column!r} is nested more than {DEEPEST} levels deep.")
    if kind.num_fields > MOST_KEYS:
        raise too_many_keys(f"{where}: column {column!r}", kind.num_fields)
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
    turn = turn_beside_text(values[good])
    if turn is not None:
        raise InputError(
            f"{place(good)}, turn {turn}: the content holds something other than text."
        )
    if good == 0:
        raise InputError(f"{place(0)}: column {name!r} holds {shown}, {_unheld(values[0])}.")
    kind = pa.array(values[:good]).type
    raise InputError(
        f"{place(good)}: column {name!r} holds {shown} but the rows before it hold {kind}; "
        "one column has one type."
    )


def _check_finite(name: str, column: pa.Array, place: Place) -> None:
    """Reject numbers such as 1e999, which are read as infinite."""
    import pyarrow.compute as pc

    if has_infinite(column):
        row = pc.index(pc.is_inf(column), True).as_py()
        raise InputError(f"{place(row)}: column {name!r} holds a number too large to be read.")


def _array(values: list[Any]) -> pa.Array | None:
    """The values as an Arrow array; None if they have no common type."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return None


def _unheld(value: Any) -> str:
    """Why no column can hold a value."""
    if isinstance(value, int):
        return "an integer of more than 64 bits; write it as text"
    clash = _clash([value], "")
    if clash is None:
        return "which no column can hold"
    key, kinds = clash
    where = repr(key) if key else "an item"
    return f"in which {where} is {' and '.join(kinds)}; one column has one type"


def _clash(values: list[Any], key: str) -> tuple[str, list[str]] | None:
    """The first key that has values of several kinds within a value, and these."""
    kinds = sorted({_kind(value) for value in values if value is not None})
    if len(kinds) > 1:
        return key, kinds
    if kinds == ["a list"]:
        return _clash(list(chain.from_iterable(v for v in values if v is not None)), key)
    if kinds != ["an object"]:
        return None
    objects = [value for value in values if value is not None]
    names = dict.fromkeys(chain.from_iterable(objects))
    found = (_clash([one[name] for one in objects if name in one], name) for name in names)
    return next((clash for clash in found if clash is not None), None)


def _kind(value: Any) -> str:
    kinds = ((bool, "true or false"), (str, "text"), (list, "a list"), (dict, "an object"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "a number")
