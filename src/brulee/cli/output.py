"""How results leave a command: JSON for machines, tables for people, both on stdout."""

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
    """Print a table whose cells are plain text, so that brackets in them are no markup.

    Nothing is cut: on a terminal what is too long goes on in the next line of its cell, and columns
    that have no room stand below; elsewhere every row is one line.
    """
    from brulee.reporting.tables import parts

    out = console()
    for number, part in enumerate(parts(headers, list(rows), out.width)):
        if number:
            out.print()
        out.print(part)


def print_text(text: str) -> None:
    """Print a sentence: on a terminal broken between words, elsewhere one line.

    Not for a path that is to be copied, which stays in one piece.
    """
    from rich.text import Text

    from brulee.printable import printable

    console().print(Text(printable(text)))


def console() -> Console:
    """Standard output, as wide as its terminal; without one, as wide as what is printed."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _UNLIMITED)


def print_run(folder: Path, as_json: bool) -> None:
    """Print what a finished run measured, followed by where its report lies."""
    from brulee.reporting import results

    found = results.read(folder / results.FILE_NAME)
    if as_json:
        print_json(found.model_dump(mode="json", by_alias=True))
        return
    from rich.console import Console

    from brulee.reporting import terminal

    terminal.show(found, Console(), folder / "report.html")


def print_trained(folder: Path, as_json: bool) -> None:
    """Print where a training without evaluation left its weights."""
    # Full fine-tuning leaves a model, every other method an adapter.
    weights = next(p for p in (folder / "adapter", folder / "model") if p.is_dir())
    if as_json:
        print_json({"run": str(folder), weights.name: str(weights)})
    else:
        print(f"{weights.name}: {weights}")
