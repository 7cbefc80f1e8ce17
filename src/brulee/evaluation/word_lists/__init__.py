"""Word lists for faithfulness, ROUGE, perturbations and social measures, one TSV file each.

The first column is a word (or a group's name), the others are its values. Lines that begin with `#`
name the list's source. A user's own file has the same format.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

from brulee.errors import InputError

Table = dict[str, tuple[str, ...]]


@cache
def bundled(name: str) -> Table:
    """The bundled list of that name."""
    text = (resources.files("brulee.evaluation.word_lists") / f"{name}.tsv").read_text("utf-8")
    return _parse(text, name)


def read(file: Path) -> Table:
    """A list from a user's file.

    Raises InputError for a file that cannot be read, has no entry, or has a line without a tab.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: this word list cannot be read: {error}.") from None
    return _parse(text, str(file))


def _parse(text: str, where: str) -> Table:
    table: Table = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        word, *others = (cell.strip() for cell in line.split("\t"))
        if not word or not any(others):
            raise InputError(
                f"{where}, line {number}: {line!r} holds one column; it needs a word, a tab and "
                "what belongs to it."
            )
        table[word] = (*table.get(word, ()), *filter(None, others))
    if not table:
        raise InputError(f"{where}: this word list has no entry.")
    return table
