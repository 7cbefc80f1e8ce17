"""Print results on stdout: JSON for machines, tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console

    from brulee.reporting.tables import Cell

_UNLIMITED: Final = 10_000  # columns


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def print_lines(values: Iterable[Any]) -> None:
    """Print one JSON document per line."""
    for value in values:
        print(json.dumps(value, ensure_ascii=False))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Print a table of plain text, in which brackets are not markup.

    Nothing is cut: on a terminal, long cells wrap, and columns that do not fit follow in a second
    table below; elsewhere every row is one line.
    """
    from brulee.reporting.tables import parts

    out = console()
    for number, part in enumerate(parts(headers, list(rows), out.width)):
        if number:
            out.print()
        out.print(part)


def print_text(text: str) -> None:
    """Print a sentence, on a terminal wrapped between words, elsewhere on one line.

    Do not use it for a path to be copied, which must not wrap.
    """
    from rich.text import Text

    from brulee.printable import printable

    console().print(Text(printable(text)))


def console() -> Console:
    """Standard output, as wide as its terminal; otherwise wide enough never to wrap."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _UNLIMITED)


def print_run(folder: Path, as_json: bool) -> None:
    """Print a finished run's measurements and the path of its report."""
    from brulee.reporting import results

    found = results.read(folder / results.FILE_NAME)
    if as_json:
        print_json(found.model_dump(mode="json", by_alias=True))
        return
    from rich.console import Console

    from brulee.reporting import terminal

    terminal.show(found, Console(), folder / "report.html")


def print_trained(folder: Path, as_json: bool) -> None:
    """Print where a training without evaluation stored its weights."""
    # Full fine-tuning stores a model, every other method an adapter.
    weights = next(p for p in (folder / "adapter", folder / "model") if p.is_dir())
    if as_json:
        print_json({"run": str(folder), weights.name: str(weights)})
    else:
        print(f"{weights.name}: {weights}")
