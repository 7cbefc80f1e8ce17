"""The texts of rows without labels and ids, for comparing rows.

A label column has short values that repeat; label words are its values and the answer choices of a
task. In lists and objects every path counts as a column, so that in chats the roles are labels and
the contents are texts.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from brulee.data.rows import Rows
from brulee.data.words import words
from brulee.errors import InputError
from brulee.progress import bar

# A value with at least this many words is a text, however often it repeats.
_LABEL_WORDS: Final = 8
_WORTH_A_BAR: Final = 20_000  # rows
_ID_NAMES: Final = frozenset({"id", "uuid", "idx", "index", "guid"})


@dataclass(frozen=True)
class RowTexts:
    """The texts of some rows of a source; `indices` are the rows, in the requested order."""

    name: str
    rows: Rows
    indices: Sequence[int]
    columns: tuple[str, ...]
    labels: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.indices)

    @functools.cached_property
    def label_words(self) -> frozenset[str]:
        """The task's label words, and the values of all label columns."""
        found = _label_columns(self._leaves(range(len(self.rows)))).values()
        return self.labels.union(*(map(_plain, values) for values in found))

    def texts(self, labels: Collection[str] = ()) -> Iterator[tuple[int, str]]:
        """Yield each text with its row's number in `indices`; `labels` are skipped as well."""
        skipped = self.label_words.union(labels)
        longest = max(map(len, skipped), default=0)
        for number, _, text in self._leaves(self.indices):
            # Skip the comparison for much longer texts, as it would tokenise every text again.
            if len(text) > 2 * longest or _plain(text) not in skipped:
                yield number, text

    def joined(self) -> list[str]:
        """The texts of each row joined by line breaks."""
        texts: list[list[str]] = [[] for _ in self.indices]
        for number, text in self.texts():
            texts[number].append(text)
        return ["\n".join(of_row) for of_row in texts]

    def place(self, number: int) -> str:
        """The location of a row, by its number in `indices`."""
        return self.rows.place(self.indices[number])

    def _leaves(self, indices: Sequence[int]) -> Iterator[tuple[int, str, str]]:
        """Yield every text of the rows, with the number of its row and its path."""
        with bar(f"Reading {self.name}", len(indices), "rows", _WORTH_A_BAR) as progress:
            for number, values in enumerate(self.rows.some(indices, self.columns)):
                for column, value in values.items():
                    for path, text in _leaves(value, column):
                        yield number, path, text
                progress.advance()


def row_texts(
    name: str,
    rows: Rows,
    indices: Sequence[int] | None = None,
    columns: Collection[str] | None = None,
    labels: Iterable[str] = (),
) -> RowTexts:
    """The texts of some rows (default: all) in some columns (default: all but ids).

    A column `a-b` may be given as `a_b`. `labels` are label words. Raises InputError if no row or
    no column is left.
    """
    indices = range(len(rows)) if indices is None else indices
    if not indices:
        raise InputError(f"{name}: it has no rows to compare.")
    wanted = None if columns is None else {c.replace("-", "_") for c in columns}
    kept = tuple(
        c
        for c in rows.columns
        if not is_id(c) and (wanted is None or c.replace("-", "_") in wanted)
    )
    if not kept:
        present = ", ".join(rows.columns)
        raise InputError(f"{name}: no column to compare; columns present: {present}.")
    return RowTexts(name, rows, indices, kept, frozenset(map(_plain, labels)))


def _plain(text: str) -> str:
    return " ".join(words(text))


def is_id(column: str) -> bool:
    """Whether a column numbers rows rather than says something, by its name."""
    name = column.lower().replace("-", "_")
    return name in _ID_NAMES or name.endswith(("_id", "_idx"))


def is_label(value: str) -> bool:
    """Whether a value that repeats is a label rather than a text: it has few words."""
    return len(words(value)) < _LABEL_WORDS


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield every text in a value with its path; the items of a list share a path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, path)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}")


def _label_columns(leaves: Iterable[tuple[int, str, str]]) -> dict[str, set[str]]:
    """The paths whose values are all short and on average repeated, with their distinct values."""
    long: set[str] = set()
    distinct: dict[str, set[str]] = {}
    places: Counter[str] = Counter()
    for _, path, text in leaves:
        if path in long:
            continue
        if not is_label(text):
            long.add(path)
            continue
        distinct.setdefault(path, set()).add(text)
        places[path] += 1
    return {
        path: values
        for path, values in distinct.items()
        if path not in long and len(values) <= places[path] / 2
    }
