"""The style of all terminal tables; on narrow terminals, words and numbers stay whole."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from brulee.printable import printable

Cell: TypeAlias = str | Text

_BETWEEN: Final = 2  # terminal columns between two table columns
_LONGEST: Final = 32  # characters of a word that is kept whole; a longer one is a path or an id
_LONGEST_NAME: Final = 20  # the same for the naming columns, which every part repeats
_NUMBER: Final = re.compile(r"[<>+\-−±]? ?\d.{0,24}|[-–]|")
_BLOCKS: Final = re.compile(r"[ ▁-█]+")  # a sparkline, which like a number must not wrap


@dataclass
class TableRows:
    """A table under construction."""

    heads: Sequence[str]
    title: str = ""
    rows: list[Sequence[Cell]] = field(default_factory=list)

    def add(self, *cells: Cell) -> None:
        """Add a row; missing cells are empty."""
        self.rows.append([*cells, *[""] * (len(self.heads) - len(cells))])

    def show(self, console: Console) -> None:
        """Print the table after a blank line; nothing if it has no rows."""
        for part in parts(self.heads, self.rows, console.width, self.title) if self.rows else ():
            console.print()
            console.print(part)


def parts(
    heads: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    width: int,
    title: str = "",
    naming: int = 1,
) -> Iterator[Table]:
    """Yield the table, or if it is wider than `width`, parts to print one below the other.

    Each part begins with the first `naming` columns, which identify a row. Numbers are right
    aligned and never broken; text wraps between words, and only very long words are broken.
    Cells are plain text: brackets are not markup, and terminal control sequences are removed.
    """
    columns = [[head, *(_plain(row[i]) for row in rows)] for i, head in enumerate(heads)]
    numbers = [i >= naming and all(map(_NUMBER.fullmatch, c[1:])) for i, c in enumerate(columns)]
    whole = [
        number or all(map(_BLOCKS.fullmatch, c[1:]))
        for number, c in zip(numbers, columns, strict=True)
    ]
    if sum(_widest(column) + _BETWEEN for column in columns) - 1 <= width:
        yield _drawn(heads, rows, range(len(heads)), title, numbers, {})
        return
    least = [
        _least(column, whole[i], _LONGEST if i >= naming else _LONGEST_NAME)
        for i, column in enumerate(columns)
    ]
    named = sum(size + _BETWEEN for size in least[:naming])
    first = naming
    while first < len(heads) or first == naming:
        last, taken = first, named
        while last < len(heads) and (last == first or taken + least[last] < width):
            taken += least[last] + _BETWEEN
            last += 1
        shown = [*range(naming), *range(first, last)]
        kept = {i: least[i] for i in shown if whole[i]}
        yield _drawn(heads, rows, shown, title, numbers, kept)
        first = max(last, first + 1)


def _drawn(
    heads: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    shown: Sequence[int],
    title: str,
    numbers: Sequence[bool],
    kept: dict[int, int],
) -> Table:
    table = Table(
        title=Text(title, style="bold") if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        header_style="dim",
    )
    for i in shown:
        table.add_column(
            Text(heads[i]),
            justify="right" if numbers[i] else "left",
            overflow="fold",
            width=kept.get(i),
        )
    for row in rows:
        table.add_row(*(_text(row[i]) for i in shown))
    return table


def _least(column: Sequence[str], whole: bool, longest: int) -> int:
    """The least width at which a column's numbers, or the words of its texts, stay whole."""
    head, *cells = column
    words = head.split() + (cells if whole else [w for cell in cells for w in cell.split()])
    return max((min(cell_len(word), longest) for word in words), default=1)


def _widest(column: Sequence[str]) -> int:
    return max(cell_len(line) for cell in column for line in (cell.split("\n") or [""]))


def _plain(cell: Cell) -> str:
    return cell.plain if isinstance(cell, Text) else printable(cell)


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(printable(cell))
