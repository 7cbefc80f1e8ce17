"""A data file, or a folder whose files are named after splits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from brulee.data.containers import CONTAINERS, container_of, digest, read_file
from brulee.data.dataset_info import FILE_NAME, entry_names
from brulee.data.rows import Found, Part
from brulee.data.split_names import SPLIT_NAMES, SPLIT_ORDER
from brulee.data.tables import join_tables
from brulee.errors import InputError

# What `datasets` writes beside its data.
_ABOUT = (FILE_NAME, "state.json", "dataset_dict.json")
_SHARD = re.compile(r"-\d+-of-\d+$")


def open_file(path: Path, label: str, limit: int | None = None, numbered: bool = False) -> Found:
    """The rows of one file; InputError naming the line or row of whatever is malformed.

    `numbered`: as for `read_file`.
    """
    if path.name == FILE_NAME:
        names = entry_names(path)
        hint = f", as in {label}:{names[0]}. Valid: {', '.join(names)}" if names else ""
        raise InputError(f"{label}: name one of its entries{hint}.")
    return _read([(path, label)], None, limit, numbered)


def open_folder(path: Path, label: str, limit: int | None = None, numbered: bool = False) -> Found:
    """The rows of a folder, whose files or subfolders are called train, validation and test.

    A split may be in shards (`train-00000-of-00002.parquet`). Without such names the folder holds
    one data set, which publishes no split. Raises InputError where that leaves a choice.
    """
    by_split = {split: _files_of(path, split) for split in SPLIT_ORDER}
    parts = []
    for split, files in by_split.items():
        if len(files) > 1 and not _are_shards(files):
            raise InputError(f"{label}: two files for {split}: {', '.join(f.name for f in files)}.")
        if files:
            parts.append(_read(_labelled(files, path, label), split, limit, numbered))
    if not parts:
        return _whole_folder(path, label, limit, numbered)
    digests = {file: sha for part in parts for file, sha in part.digests.items()}
    table = join_tables([part.table for part in parts], [part.parts[0].label for part in parts])
    return Found(table, [one for part in parts for one in part.parts], digests)


def split_of(found: Found, split: str, where: str) -> Found:
    """The rows of one split, which then publish none."""
    wanted = SPLIT_NAMES.get(split.lower(), split)
    tables, parts, start = [], [], 0
    for part in found.parts:
        if part.split == wanted:
            tables.append(found.table.slice(start, part.count))
            parts.append(Part(part.label, part.count, part.lines))
        start += part.count
    if not tables:
        names = dict.fromkeys(part.split for part in found.parts if part.split)
        held = f"; it has {', '.join(names)}" if names else ", and one file has no splits"
        raise InputError(f"{where}: no split {split!r}{held}.")
    return Found(join_tables(tables, [p.label for p in parts]), parts, found.digests)


def _files_of(folder: Path, split: str) -> list[Path]:
    inside = [
        file
        for sub in sorted(folder.iterdir())
        if sub.is_dir() and SPLIT_NAMES.get(sub.name.lower()) == split
        for file in _data_files(sub)
    ]
    return [f for f in _data_files(folder) if SPLIT_NAMES.get(_stem(f).lower()) == split] + inside


def _data_files(folder: Path) -> list[Path]:
    files = [p for p in folder.iterdir() if p.is_file() and container_of(p)]
    return sorted(p for p in files if p.name not in _ABOUT)


def _stem(file: Path) -> str:
    return _SHARD.sub("", file.name.split(".")[0])


def _are_shards(files: Sequence[Path]) -> bool:
    return len({_stem(f) for f in files}) == 1 and all(
        _SHARD.search(f.name.split(".")[0]) for f in files
    )


def _labelled(files: Sequence[Path], folder: Path, label: str) -> list[tuple[Path, str]]:
    return [(f, f"{label.rstrip('/')}/{f.relative_to(folder).as_posix()}") for f in files]


def _whole_folder(path: Path, label: str, limit: int | None, numbered: bool) -> Found:
    files = _data_files(path)
    if len(files) == 1 or _are_shards(files):
        return _read(_labelled(files, path, label), None, limit, numbered)
    held = f"it holds {', '.join(f.name for f in files)}" if files else "it holds no data file"
    entry = f"{label.rstrip('/')}/{FILE_NAME}"
    hint = f" {entry}:NAME is an entry of that file." if (path / FILE_NAME).is_file() else ""
    raise InputError(
        f"{label}: a folder needs files named train, validation and test "
        f"({', '.join(CONTAINERS)}), or one file; {held}.{hint}"
    )


def _read(
    files: Sequence[tuple[Path, str]], split: str | None, limit: int | None, numbered: bool
) -> Found:
    tables, parts, digests = [], [], {}
    left = limit
    for path, label in files:
        if left == 0:
            break
        piece = read_file(path, label, left, numbered)
        count = piece.table.num_rows
        left = None if left is None else left - count
        tables.append(piece.table)
        parts.append(Part(label, count, piece.lines, split))
        digests[label] = digest(path)
    return Found(join_tables(tables, list(digests)), parts, digests)
