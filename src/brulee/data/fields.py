"""A table's columns, and the fields of those that hold objects, by name: `translation.en`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def column_or_field(table: pa.Table, name: str) -> pa.ChunkedArray | None:
    """The column of this name, else the field of a column of objects, else None.

    Fields may be nested: `meta.author.name`. A field is null in rows without an object.
    """
    if name in table.column_names:
        return table[name]
    for column in table.column_names:
        if name.startswith(f"{column}."):
            found = _field(table[column], name.removeprefix(f"{column}."))
            if found is not None:
                return found
    return None


def names_for(table: pa.Table, name: str) -> list[str]:
    """All columns, and the fields of the one that a name begins with."""
    fields = (
        f"{column}.{field}"
        for column in table.column_names
        if name.startswith(f"{column}.")
        for field in _fields(table[column])
    )
    return [*table.column_names, *fields]


def _field(values: pa.ChunkedArray, path: str) -> pa.ChunkedArray | None:
    import pyarrow.compute as pc

    for at, field in enumerate(_fields(values)):
        if path == field or path.startswith(f"{field}."):
            inside = pc.struct_field(values, [at])
            return inside if path == field else _field(inside, path.removeprefix(f"{field}."))
    return None


def _fields(values: pa.ChunkedArray) -> Iterator[str]:
    import pyarrow as pa

    if pa.types.is_struct(values.type):
        yield from (field.name for field in values.type)
