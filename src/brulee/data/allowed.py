"""What a value of a row may hold: depth, number of keys, characters.

`surely_allowed` and `surely_clean` are quick, but say only that there may be something to refuse;
`check_value` says what it is, and in which row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from brulee.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

Place = Callable[[int], str]
# Beyond these the data is malformed, and Arrow and `datasets` fail or take minutes.
MOST_KEYS, DEEPEST = 1000, 32
FLAT: Final = frozenset((str, int, float, bool, type(None)))  # types of values without depth
_ESCAPED_NUL: Final = "\\u0000"


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
                raise too_many_keys(place(row), len(value))
            check_value(list(value), place, row, depth)
            value = value.values()
        for item in value:
            check_value(item, place, row, depth + 1)


def surely_allowed(values: Iterable[Any]) -> bool:
    """Whether `check_value` finds nothing in the values of a column, except in texts.

    All lists and objects of one depth are looked at together, which is much faster than each value
    by itself.
    """
    level = [value for value in values if type(value) not in FLAT]
    for _ in range(DEEPEST):
        if not level:
            return True
        lists = [value for value in level if type(value) is list]
        objects = [value for value in level if type(value) is dict]
        keys = set(chain.from_iterable(objects))
        if len(lists) + len(objects) < len(level) or any("\0" in key for key in keys):
            return False
        if max(map(len, objects), default=0) > MOST_KEYS:
            return False
        inside = chain(chain.from_iterable(lists), *(value.values() for value in objects))
        level = [value for value in inside if type(value) not in FLAT]
    return not level


def surely_clean(column: pa.Array | pa.ChunkedArray, packed: bool = False) -> bool:
    """Whether no text of a column holds a NUL character, and no number is infinite.

    In a column that is `packed`, a text may be JSON, which holds NUL as an escape sequence. Half of
    a surrogate pair cannot be in a column.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(column, pa.ChunkedArray):
        return all(surely_clean(chunk, packed) for chunk in column.chunks)
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        if packed and pc.any(pc.match_substring(column, _ESCAPED_NUL)).as_py():
            return False
        held = column.buffers()[2]
        return held is None or bool(np.frombuffer(held, np.uint8).all())
    if pa.types.is_struct(kind):
        fields = (column.field(number) for number in range(kind.num_fields))
        return all(surely_clean(field, packed) for field in fields)
    if pa.types.is_list(kind):
        return surely_clean(column.values, packed)
    return not has_infinite(column)


def has_infinite(column: pa.Array) -> bool:
    """Whether a number of a column is infinite, as 1e999 is read."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pa.types.is_floating(column.type) and bool(pc.any(pc.is_inf(column)).as_py())


def check_nul(array: pa.Array, where: str) -> None:
    """Raise InputError for a NUL character in a text of a column, at any depth."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        if pc.any(pc.match_substring(array, "\x00")).as_py():
            raise InputError(f"{where}: a text holds a NUL character (\\u0000); remove it.")
    elif pa.types.is_struct(kind):
        for number in range(kind.num_fields):
            check_nul(array.field(number), where)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        check_nul(array.values, where)


def too_many_keys(where: str, count: int) -> InputError:
    """The error for a row, or rows, with this many keys."""
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
