"""Converts records to an Arrow table in parts, so that few of them are Python objects at a time.

The types of a column in different parts are joined as if Arrow had seen all values at once.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from brulee.data.allowed import MOST_KEYS, Place
from brulee.data.tables import to_table
from brulee.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")


class _ApartError(ValueError):
    """Two types have no common type."""


def to_table_by_parts(
    parts: Iterable[Sequence[Mapping[str, Any]]], place: Place
) -> pa.Table | None:
    """Like `to_table` of all records, but with only one part of them in memory at a time.

    None if there is an error in the records, which `to_table` of all of them would raise.
    """
    import pyarrow as pa

    tables: list[tuple[pa.Table, int]] = []  # a table without columns does not know its rows
    types: dict[str, pa.DataType] = {}
    rows = 0
    try:
        with _without_collecting():
            for part in parts:
                table = to_table(part, after(rows, place))
                for column in table.schema:
                    types[column.name] = _joined(types.get(column.name, pa.null()), column.type)
                tables.append((table, len(part)))
                rows += len(part)
        if not tables or len(types) > MOST_KEYS:
            return None
        whole = [
            pa.table({name: _column(table, name, kind, count) for name, kind in types.items()})
            for table, count in tables
        ]
    except (InputError, _ApartError, pa.ArrowInvalid):
        return None
    return pa.concat_tables(whole)


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Pause the search for reference cycles, which records do not have, but are searched for."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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


def _joined(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """The type that Arrow infers for values of both types; _ApartError if there is none."""
    import pyarrow as pa

    if first == second or pa.types.is_null(second):
        return first
    if pa.types.is_null(first):
        return second
    if pa.types.is_list(first) and pa.types.is_list(second):
        return pa.list_(_joined(first.value_type, second.value_type))
    if pa.types.is_struct(first) and pa.types.is_struct(second):
        fields = {field.name: field.type for field in first}
        for field in second:
            fields[field.name] = _joined(fields.get(field.name, pa.null()), field.type)
        return pa.struct(fields)
    if {first, second} == {pa.int64(), pa.float64()}:
        return pa.float64()
    raise _ApartError


def _column(table: pa.Table, name: str, kind: pa.DataType, count: int) -> pa.ChunkedArray:
    import pyarrow as pa

    if name not in table.column_names:
        return pa.chunked_array([pa.nulls(count, kind)])
    return pa.chunked_array([_as(chunk, kind) for chunk in table[name].chunks], kind)


def _as(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """An array with a type that its own was joined to.

    Raises ArrowInvalid for an integer that is not exactly a float.
    """
    import pyarrow as pa

    if array.type == kind:
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), kind)
    if pa.types.is_list(kind):
        values = _as(array.values, kind.value_type)
        return pa.ListArray.from_arrays(array.offsets, values, mask=_mask(array))
    if pa.types.is_struct(kind):
        there = {field.name: array.field(field.name) for field in array.type}
        none = pa.nulls(len(array))
        fields = [_as(there.get(field.name, none), field.type) for field in kind]
        return pa.StructArray.from_arrays(fields, fields=list(kind), mask=_mask(array))
    return array.cast(kind)


def _mask(array: pa.Array) -> pa.Array | None:
    return array.is_null() if array.null_count else None
