"""Rows: an Arrow table that records where each row came from."""

from __future__ import annotations

import functools
import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from brulee.data.tables import to_table
from brulee.errors import unknown
from brulee.recipe import given_rows

if TYPE_CHECKING:
    import pyarrow as pa

_TOGETHER: Final = 100  # rows read at once


@dataclass(frozen=True)
class RowRange:
    """Consecutive rows from one place: `count` rows of one file or one Hub split.

    Without `numbers`, rows are numbered from 1. `place` names a number by `unit`; with unit "", it
    gives the label alone.
    """

    label: str
    count: int
    numbers: Sequence[int] | None = None
    split: str | None = None
    unit: Literal["row", "line", "piece", ""] = "row"

    @classmethod
    def of_lines(
        cls, label: str, count: int, lines: Sequence[int] | None, split: str | None = None
    ) -> Self:
        """Rows at these lines of a text file; without `lines`, rows of a file that has none."""
        return cls(label, count, lines, split, "row" if lines is None else "line")


@dataclass(frozen=True)
class Found:
    """What was read: a table, the parts that make it up, the sha256 of every file."""

    table: pa.Table
    parts: list[RowRange]
    digests: dict[str, str] = field(default_factory=dict)


class Rows:
    """An Arrow table, wrapped by `datasets`, that records where each row came from.

    `class_names`: the class names of an integer column, where the source gives them.
    """

    def __init__(
        self,
        name: str,
        table: pa.Table,
        parts: Sequence[RowRange],
        digests: Mapping[str, str],
        class_names: Mapping[str, Sequence[str]] = {},
    ) -> None:
        import datasets

        self.name = name
        self.columns: list[str] = list(table.column_names)
        self.digests = dict(digests)
        self.class_names = dict(class_names)
        self._parts = tuple(parts)
        # By default `datasets` pickles the table for its fingerprint, which some versions of
        # pyarrow refuse.
        self._dataset = datasets.Dataset(table, fingerprint=_fingerprint(name, digests))
        self.published = _published(self._parts)

    @property
    def label(self) -> str:
        """The name in messages: `rows` for rows passed from Python, else `name`."""
        return given_rows.label(self.name)

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]], name: str = "rows") -> Rows:
        """Rows from records in memory."""
        table = to_table(records, lambda i: f"{name}, row {i + 1}")
        return cls(name, table, [RowRange(name, len(records))], {})

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, i: int) -> dict[str, Any]:
        if not -len(self) <= i < len(self):
            raise IndexError(f"{self.name} has {len(self)} rows, so no row {i}")
        row: dict[str, Any] = self._dataset[i]
        return row

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self.some(range(len(self)))

    def some(
        self, chosen: Sequence[int], columns: Sequence[str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Iterate over the chosen rows in order, with some of their columns (default: all).

        Batched reads are ten times as fast as single.
        """
        names = self.columns if columns is None else columns
        for start in range(0, len(chosen), _TOGETHER):
            part = chosen[start : start + _TOGETHER]
            first, end = min(part), max(part) + 1
            # Neighbours are read as one slice, which is three times as fast as row by row.
            near = end - first <= 2 * len(part)
            read: dict[str, list[Any]]
            if columns is None:
                read = self._dataset[first:end] if near else self._dataset[part]
            else:
                # Unlike pyarrow's, these do not look at every chunk, of which each file has one.
                data = self._dataset.data
                table = data.fast_slice(first, end - first) if near else data.fast_gather(part)
                read = {name: table[name].to_pylist() for name in columns}
            every = list(zip(*(read[name] for name in names), strict=True))
            for values in (every[i - first] for i in part) if near else every:
                yield dict(zip(names, values, strict=True))

    def spelled(self, name: str) -> str:
        """The column that a name means; InputError listing the columns if there is none.

        Jinja cannot spell `conversation-id`, so `conversation_id` means that column too.
        """
        known = spellings(self.columns)
        if name not in known:
            raise unknown("column", name, self.columns, self.label)
        return known[name]

    def column(self, name: str) -> list[Any]:
        """Every value of a column. Raises InputError like `spelled`."""
        values: list[Any] = self._dataset.data[self.spelled(name)].to_pylist()
        return values

    def replaced(self, added: Mapping[str, Sequence[Any]], dropped: Iterable[str] = ()) -> Rows:
        """The same rows in the same places, with columns added (or replaced) and dropped."""
        import pyarrow as pa

        gone = {*added, *dropped}
        kept = {c: self._dataset.data[c] for c in self.columns if c not in gone}
        return Rows(self.name, pa.table({**added, **kept}), self._parts, self.digests)

    def kept(self, chosen: Sequence[int]) -> Rows:
        """Only the chosen rows, given in rising order; each keeps its place and its split."""
        parts = []
        for part, start in zip(self._parts, self._starts, strict=True):
            first, end = (bisect_left(chosen, at) for at in (start, start + part.count))
            if first < end:
                numbers = [self._found(i)[1] for i in chosen[first:end]]
                parts.append(replace(part, count=end - first, numbers=numbers))
        table = self._dataset.data.fast_gather(list(chosen))
        return Rows(self.name, table, parts, self.digests, self.class_names)

    def divided(self, column: str, pieces: Sequence[Sequence[str]]) -> Rows:
        """Split each row into several that hold the pieces of a column's text, in order."""
        import pyarrow as pa

        of = pa.array([i for i, found in enumerate(pieces) for _ in found], pa.int64())
        kept = {c: self._dataset.data[c].take(of) for c in self.columns if c != column}
        texts = pa.array([text for found in pieces for text in found], pa.large_string())
        splits = {i: name for name, rows in self.published.items() for i in rows}
        parts = [
            RowRange(
                self.place(i), len(found), None, splits.get(i), "piece" if len(found) > 1 else ""
            )
            for i, found in enumerate(pieces)
        ]
        return Rows(self.name, pa.table({**kept, column: texts}), parts, self.digests)

    def place(self, i: int) -> str:
        """The location of a row: "chats.jsonl, line 12", or "row 12" for Parquet and the Hub."""
        part, number = self._found(i)
        return f"{part.label}, {part.unit} {number}" if part.unit else part.label

    def origin(self, i: int) -> tuple[str, str, int]:
        """A row's location independent of its file's name: the file's sha256, part, row number.

        The first two are empty where a row combines several files.
        """
        part, number = self._found(i)
        file = part.label
        if file not in self.digests:
            file = next((one for one in self.digests if file.startswith(one)), "")
        if not file:
            return "", "", number
        return self.digests[file], part.label.removeprefix(file), number

    def _found(self, i: int) -> tuple[RowRange, int]:
        """The part that holds a row, and the row's number or line in it."""
        if not 0 <= i < len(self):
            raise IndexError(f"{self.name} has {len(self)} rows")
        # Of several parts that start at the same row, only the last is not empty.
        at = bisect_right(self._starts, i) - 1
        part, within = self._parts[at], i - self._starts[at]
        return part, within + 1 if part.numbers is None else part.numbers[within]

    @functools.cached_property
    def _starts(self) -> list[int]:
        """The number of each part's first row."""
        return list(accumulate((part.count for part in self._parts), initial=0))[:-1]


def spellings(columns: Iterable[str]) -> dict[str, str]:
    """Map names used in templates to columns: Jinja cannot spell `a-b`, so `a_b` means it."""
    columns = tuple(columns)
    return {c.replace("-", "_"): c for c in columns} | {c: c for c in columns}


def _fingerprint(name: str, digests: Mapping[str, str]) -> str:
    text = "\n".join([name, *(f"{file} {digest}" for file, digest in sorted(digests.items()))])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _published(parts: Iterable[RowRange]) -> dict[str, list[int]]:
    published: dict[str, list[int]] = {}
    start = 0
    for part in parts:
        if part.split is not None:
            indices = range(start, start + part.count)
            published.setdefault(part.split, []).extend(indices)
        start += part.count
    return published
