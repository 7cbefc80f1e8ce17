"""The texts of rows in one spelling, so that they can be compared.

They are read from the rows each time: as Python strings, the texts of all rows take more memory
than the rows.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, overload

from brulee.data.rows import Rows
from brulee.data.shingles import SHINGLE

_MOST_INSTRUCTIONS: Final = 100
_ROWS_PER_INSTRUCTION: Final = 10
_NEXT_COLUMN: Final = "\x1f"
_as_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True, default=str).encode


def normalise(value: Any) -> str:
    """Normalise a text for comparison: NFKC, case folding, single spaces."""
    text = value if isinstance(value, str) else canonical(value)
    if text.isascii():
        return " ".join(text.lower().split())
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def canonical(value: Any) -> str:
    """A value as JSON text that does not depend on the order of keys."""
    return _as_json(value)


def digest(text: str) -> bytes:
    """A 16-byte digest of a text, as the texts of all rows may not fit in memory."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Normalised(Sequence[str]):
    """The normalised text of each of some rows (default: all) in some columns.

    Raises InputError like `Rows.column` for a column that does not exist.
    """

    def __init__(
        self, rows: Rows, columns: Sequence[str], chosen: Sequence[int] | None = None
    ) -> None:
        self.columns = tuple(map(rows.spelled, columns))
        self._rows = rows
        self._chosen = range(len(rows)) if chosen is None else chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __iter__(self) -> Iterator[str]:
        for values in self._rows.some(self._chosen, self.columns):
            yield self.joined({column: normalise(value) for column, value in values.items()})

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Normalised: ...
    def __getitem__(self, at: int | slice) -> str | Normalised:
        if isinstance(at, slice):
            return Normalised(self._rows, self.columns, self._chosen[at])
        return next(iter(self[at : at + 1]))

    def joined(self, row: Mapping[str, str]) -> str:
        """The text of a row whose columns are normalised."""
        return _NEXT_COLUMN.join([row[column] for column in self.columns])

    def some(self, chosen: Sequence[int]) -> Normalised:
        """Some of these texts, by their numbers in this sequence."""
        return Normalised(self._rows, self.columns, [self._chosen[i] for i in chosen])


def telling_texts(rows: Rows, columns: Sequence[str]) -> Normalised:
    """The text of each row in some columns (default: all), for finding near-duplicates.

    A column with few, long values holds instructions or system messages that many rows share; it
    is left out, as it does not make rows near-duplicates.
    """
    columns = tuple(columns) or tuple(rows.columns)
    told = [column for column in columns if not _is_instruction(Normalised(rows, [column]))]
    return Normalised(rows, told or columns)


def _is_instruction(values: Normalised) -> bool:
    distinct: set[str] = set()
    for value in values:
        distinct.add(value)
        if len(distinct) >= _MOST_INSTRUCTIONS:
            return False
    repeated = len(distinct) * _ROWS_PER_INSTRUCTION <= len(values)
    return repeated and sum(map(_words, distinct)) >= SHINGLE * len(distinct)


def _words(text: str) -> int:
    return len(text.split())
