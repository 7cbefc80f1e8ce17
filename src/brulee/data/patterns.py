"""Sources that are patterns: data/*.jsonl, data/**/*.parquet, as in a shell."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from brulee.data.divided import is_divided, members
from brulee.errors import InputError
from brulee.recipe.source import is_pattern, matching

_SHOWN = 5  # names of what a folder holds instead
_WILDCARDS = re.compile(r"[*?]+|\[[^\]]*\]")


def name_of(source: str) -> str:
    """A short name for a source: chats for data/chats.jsonl or data/chats-*.jsonl.

    A pattern that says nothing in its last part has the name of the part before, and a source for
    each split that of the first. An entry of a dataset_info.json has its own.
    """
    if is_divided(source):
        source = members(source)[0][1]
    file, _, entry = source.rpartition(":")
    source = entry if file.endswith("dataset_info.json") else source
    parts = source.rstrip("/").split("/")
    if not is_pattern(source):
        return parts[-1].split(".", 1)[0] or parts[-1]
    names = (_WILDCARDS.sub("", part.split(".", 1)[0]).strip("-_") for part in reversed(parts))
    return next(filter(None, names), "rows")


def matches(name: str, resolve: Callable[[str], Path]) -> list[tuple[Path, str]]:
    """The files that a pattern matches, in the order of their names, each with its name.

    Raises InputError saying what there is if none does.
    """
    root, pattern = _parts(name, resolve)
    found = matching(pattern, root)
    files = [(root / file, file) for file in found if (root / file).is_file()]
    if not files:
        raise InputError(f"{name}: no file matches; {_there(root, pattern, folders=len(found))}.")
    return files


def _parts(name: str, resolve: Callable[[str], Path]) -> tuple[Path, str]:
    """The folder that a pattern is relative to, which may be named like a pattern, and the rest."""
    resolved, given = resolve(name), Path(name).expanduser()
    return Path(*resolved.parts[: len(resolved.parts) - len(given.parts)]), str(given)


def _there(root: Path, pattern: str, folders: int) -> str:
    if folders:
        held = "only folders do" if folders > 1 else "only a folder does"
        return f"{held} (a pattern names files: {pattern.rstrip('/')}/*)"
    folder = root
    typed: list[str] = []
    for part in Path(pattern).parts[:-1]:
        if is_pattern(part):
            break
        folder, typed = folder / part, [*typed, part]
        if not folder.is_dir():
            return f"there is no folder {Path(*typed)}"
    where = str(Path(*typed)) if typed else "the folder"
    braces = "; braces are not read in a pattern: list the sources under data" * ("{" in pattern)
    return f"{where} {_holds(sorted(path.name for path in folder.iterdir()))}{braces}"


def _holds(names: Sequence[str]) -> str:
    further = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"holds {', '.join(names[:_SHOWN])}{further}" if names else "is empty"
