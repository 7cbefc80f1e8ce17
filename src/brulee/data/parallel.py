"""Parallel text files, in which line i of one corresponds to line i of the others.

fra-eng.{fra,eng} is the files fra-eng.fra and fra-eng.eng, with the columns `fra` and `eng`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from brulee.data.containers import digest, read_lines
from brulee.data.rows import Found, RowRange
from brulee.data.split_names import SPLIT_NAMES, SPLIT_ORDER
from brulee.data.tables import to_table
from brulee.errors import InputError

_BRACES = re.compile(r"([^{}]*)\{([^{},]+(?:,[^{},]+)+)\}([^{}]*)")
_LANGUAGE = re.compile(r"\.[a-z]{2,3}([-_][A-Za-z]+)?")


def is_parallel(name: str) -> bool:
    """Whether a name has a list of words in braces: `corpus.{fra,eng}`."""
    return _BRACES.fullmatch(name) is not None


def open_parallel(name: str, resolve: Callable[[str], Path], limit: int | None = None) -> Found:
    """One row per line, with one column per word in the braces.

    Raises InputError naming a file that is missing, is not UTF-8 text, or has a different number of
    lines than the first.
    """
    files = _files(name)
    columns, digests = {}, {}
    for column, file in files.items():
        path = resolve(file)
        if not path.is_file():
            raise InputError(f"{file}: no such file, which {name} names.")
        columns[column], digests[file] = read_lines(path, file), digest(path, file)
    _check_lengths({files[column]: len(lines) for column, lines in columns.items()})
    rows = zip(*(lines[:limit] for lines in columns.values()), strict=True)
    records = [dict(zip(columns, row, strict=True)) for row in rows]
    table = to_table(records, lambda i: f"{name}, line {i + 1}")
    return Found(table, [RowRange(name, len(records), unit="line")], digests)


def parallel_in(folder: Path, label: str) -> str:
    """How a recipe names the parallel text files of a folder, or "" if it has none.

    Files that differ only in the end of their names belong together: `train.en` and `train.fr`.
    """
    ends: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and _LANGUAGE.fullmatch(path.suffix):
            ends.setdefault(path.stem, []).append(path.suffix[1:])
    names = {
        stem: f'"{label}/{stem}.{{{",".join(several)}}}"'
        for stem, several in ends.items()
        if len(several) > 1
    }
    by_split = {SPLIT_NAMES.get(stem.lower()): name for stem, name in names.items()}
    if len(by_split) < len(names) or None in by_split:
        return " or ".join(names.values())
    each = [f"{split}: {by_split[split]}" for split in SPLIT_ORDER if split in by_split]
    return f"{{{', '.join(each)}}}" if each else ""


def _files(name: str) -> dict[str, str]:
    """Column -> file."""
    match = _BRACES.fullmatch(name)
    assert match is not None, "called for names with braces only"
    before, words, after = match.groups()
    columns = [word.strip() for word in words.split(",")]
    for column in columns:
        if not column or columns.count(column) > 1:
            raise InputError(f"{name}: the braces have to name each file once, as in {{fra,eng}}.")
    return {column: f"{before}{column}{after}" for column in columns}


def _check_lengths(lengths: dict[str, int]) -> None:
    (first, expected), *others = lengths.items()
    for file, found in others:
        if found != expected:
            raise InputError(
                f"{first} has {expected:,} lines and {file} has {found:,}; line i of one has to "
                "belong to line i of the other."
            )
