"""Records turned into an Arrow table, naming the row that does not fit its column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from brulee.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

Place = Callable[[int], str]


def to_table(records: Sequence[Mapping[str, Any]], place: Place) -> pa.Table:
    """An Arrow table with one column per key, null where a record lacks it.

    Raises InputError naming the row and the column whose type differs from the rows before it,
    and the row that holds text no UTF-8 file can hold.
    """
    import pyarrow as pa

    for i, record in enumerate(records):
        _check_text(record, place, i)
    names = dict.fromkeys(key for record in records for key in record)
    return pa.table({name: _column(name, [r.get(name) for r in records], place) for name in names})


def join_tables(tables: Sequence[pa.Table], names: Sequence[str]) -> pa.Table:
    """The rows of several tables under one schema; a column of two types is an InputError."""
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


def _column(name: str, values: list[Any], place: Place) -> pa.Array:
    import pyarrow as pa

    if _fits(values):
        return pa.array(values)
    good, bad = 0, len(values)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if _fits(values[:middle]) else (good, middle)
    shown = repr(values[good])
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    if good == 0:
        raise InputError(f"{place(0)}: column {name!r} holds {shown}, which no column can hold.")
    kind = pa.array(values[:good]).type
    raise InputError(
        f"{place(good)}: column {name!r} holds {shown} but the rows before it hold {kind}; "
        "one column has one type."
    )


def _fits(values: list[Any]) -> bool:
    import pyarrow as pa

    try:
        pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return False
    return True


def _check_text(value: Any, place: Place, row: int) -> None:
    if isinstance(value, str):
        if "\x00" in value:
            raise InputError(f"{place(row)}: the text holds a NUL character (\\u0000); remove it.")
        if not _encodes(value):
            raise InputError(
                f"{place(row)}: the text holds half a surrogate pair (\\ud800 to \\udfff), "
                "which is no character; write the whole pair or the character itself."
            )
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check_text(key, place, row)
            _check_text(item, place, row)
    elif isinstance(value, list):
        for item in value:
            _check_text(item, place, row)


def _encodes(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
