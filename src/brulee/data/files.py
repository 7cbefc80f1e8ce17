"""Opens a data file, several, or a folder of files named after splits, or of text documents."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from brulee.data.containers import CONTAINERS, container_of, digest, read_document, read_file
from brulee.data.dataset_info import FILE_NAME, entry_names
from brulee.data.parallel import parallel_in
from brulee.data.raw import NoRowsError, Piece
from brulee.data.rows import Found, RowRange
from brulee.data.split_names import SPLIT_NAMES, SPLIT_ORDER
from brulee.data.tables import join_tables, to_table
from brulee.data.text_files import SUFFIXES
from brulee.errors import InputError
from brulee.progress import Bar, bar, note, silent
from brulee.recipe.source import is_pattern

# Files that `datasets` writes in addition to the data, or wrote once.
_ABOUT = (FILE_NAME, "state.json", "dataset_dict.json", "dataset_infos.json")
_BESIDE = frozenset(("readme", "license", "licence", "notice"))  # texts that are not data
_LISTED = 5  # files that a message names
_WORTH_A_BAR = 50  # files
_SHARD = re.compile(r"-\d+-of-\d+$")


def open_file(path: Path, label: str, limit: int | None = None, numbered: bool = False) -> Found:
    """The rows of one file; InputError naming the line or row of malformed data.

    `numbered`: see `read_file`.
    """
    if path.name == FILE_NAME:
        names = entry_names(path)
        hint = f", as in {label}:{names[0]}. Valid: {', '.join(names)}" if names else ""
        raise InputError(f"{label}: name one of its entries{hint}.")
    return _read([(path, label)], None, limit, numbered)


def open_files(
    files: Sequence[tuple[Path, str]], label: str, limit: int | None = None, numbered: bool = False
) -> Found:
    """The rows of files with their names, one after the other.

    If all files, or folders of theirs that wildcards of `label` match, are named train, validation
    and test, they are those splits; if none is named validation or test, they are one data set.
    Raises InputError for anything between, as rows of a test could be trained on, and for texts
    beside files of rows.
    """
    texts = [name for path, name in files if _is_text(path)]
    if texts and len(texts) < len(files):
        rows = next(name for path, name in files if not _is_text(path))
        raise InputError(
            f"{label}: matches texts ({texts[0]}) and files of rows ({rows}); name only one kind."
        )
    given = len(list(takewhile(lambda part: not is_pattern(part), Path(label).expanduser().parts)))
    by_split: dict[str | None, list[tuple[Path, str]]] = {}
    for path, name in files:
        by_split.setdefault(_split_named(Path(name), given), []).append((path, name))
    if len(by_split) > 1 and None in by_split:
        held_out = [split for split in ("validation", "test") if split in by_split]
        if held_out and not texts:
            raise InputError(
                f"{label}: matches {by_split[held_out[0]][0][1]}, which is named after a split, "
                f"and {by_split[None][0][1]}, which is not; name only files named after splits, or "
                "only others."
            )
        by_split = {None: list(files)}
    order = [split for split in (*SPLIT_ORDER, None) if split in by_split]
    return together([_read(by_split[split], split, limit, numbered) for split in order])


def open_folder(path: Path, label: str, limit: int | None = None, numbered: bool = False) -> Found:
    """The rows of a folder, whose files or subfolders are named train, validation and test.

    A split may be in shards (`train-00000-of-00002.parquet`), or in the files of one kind of its
    subfolder. Without such names the folder is one data set without published splits: a file of
    rows, or text documents in it and its subfolders. Texts in a folder with files of rows are
    documentation and are not read; so is the README of one whose rows are in a subfolder, as the
    Hub's copies are. Texts are splits only if all are named so: a page called "training" is not a
    split of a manual. Raises InputError if this is ambiguous.
    """
    by_split = {split: _files_of(path, split) for split in SPLIT_ORDER}
    if _are_texts([f for files in by_split.values() for f in files]) and not _all_splits(path):
        by_split = {}
    parts = []
    for split, files in by_split.items():
        if len(files) > 1 and not (_are_shards(files) or _are_texts(files) or _fill(files, path)):
            raise InputError(f"{label}: two files for {split}: {_listed(files)}.")
        if files:
            parts.append(_read(_labelled(files, path, label), split, limit, numbered))
    if not parts:
        return _whole_folder(path, label, limit, numbered)
    read = {file for files in by_split.values() for file in files}
    _check_depth(path, label, {split for split, files in by_split.items() if files})
    if left := [f for f in _data_files(path) if f not in read and not _is_text(f)]:
        note(f"{label}: not read, as no split is named so: {_listed(left)}.")
    return together(parts)


def together(parts: Sequence[Found]) -> Found:
    """The rows of several, one after the other; InputError for columns that do not fit."""
    digests = {file: sha for part in parts for file, sha in part.digests.items()}
    table = join_tables([part.table for part in parts], [part.parts[0].label for part in parts])
    return Found(table, [one for part in parts for one in part.parts], digests)


def split_of(found: Found, split: str, where: str) -> Found:
    """The rows of one split, as rows without published splits; InputError if there are none."""
    wanted = SPLIT_NAMES.get(split.lower(), split)
    tables, parts, start = [], [], 0
    for part in found.parts:
        if part.split == wanted:
            tables.append(found.table.slice(start, part.count))
            parts.append(replace(part, split=None))
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
        for file in _data_files(sub) or _texts(sub)
    ]
    return [f for f in _data_files(folder) if SPLIT_NAMES.get(_stem(f).lower()) == split] + inside


def _split_named(file: Path, given: int) -> str | None:
    """The split that a file, or else a folder of its, is named after.

    Only its own folder may be among the parts `given` before the first wildcard.
    """
    names = (_stem(file), file.parent.name, *reversed(file.parts[given:-1]))
    return next((SPLIT_NAMES[name.lower()] for name in names if name.lower() in SPLIT_NAMES), None)


def _data_files(folder: Path) -> list[Path]:
    """The files of rows in a folder, or its texts if it has none."""
    files = [p for p in folder.iterdir() if p.is_file() and container_of(p)]
    known = sorted(p for p in files if p.name not in _ABOUT)
    return [p for p in known if not _is_text(p)] or known


def _texts(folder: Path) -> list[Path]:
    """The texts in a folder and its subfolders, except hidden files and symlinked folders."""
    return sorted(_walk(folder))


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from () if path.is_symlink() else _walk(path)
        elif _is_text(path):
            yield path


def _all_splits(folder: Path) -> bool:
    """Whether all texts of a folder are named after splits, apart from README, LICENSE etc."""
    files = [_stem(path) for path in _data_files(folder)]
    inside = [sub.name for sub in folder.iterdir() if sub.is_dir() and _texts(sub)]
    names = {name.lower() for name in (*files, *inside)} - _BESIDE
    return names <= SPLIT_NAMES.keys()


def _is_text(path: Path) -> bool:
    return container_of(path) in SUFFIXES


def _are_texts(files: Sequence[Path]) -> bool:
    return all(map(_is_text, files))


def _stem(file: Path) -> str:
    return _SHARD.sub("", file.name.split(".")[0])


def _are_shards(files: Sequence[Path]) -> bool:
    return len({_stem(f) for f in files}) == 1 and all(
        _SHARD.search(f.name.split(".")[0]) for f in files
    )


def _fill(files: Sequence[Path], folder: Path) -> bool:
    """Whether files are all those of a subfolder, and of one kind."""
    (parent, *others), kinds = {f.parent for f in files}, {container_of(f) for f in files}
    return not others and parent != folder and len(kinds) == 1


def _labelled(files: Sequence[Path], folder: Path, label: str) -> list[tuple[Path, str]]:
    return [(f, f"{label.rstrip('/')}/{f.relative_to(folder).as_posix()}") for f in files]


def _whole_folder(path: Path, label: str, limit: int | None, numbered: bool) -> Found:
    files = _data_files(path)
    if not files or _are_texts(files):
        files = _texts(path)
        inside = _folders_of_rows(path)
        if inside and {_stem(text).lower() for text in files} <= _BESIDE:
            return _inside(inside, label, limit, numbered)
    if len(files) == 1 or (files and (_are_shards(files) or _are_texts(files))):
        return _read(_labelled(files, path, label), None, limit, numbered)
    held = f"it holds {_listed(files)}" if files else "it holds no data file"
    if not files and (sources := parallel_in(path, label.rstrip("/"))):
        held += f"; parallel text files are named as {sources}"
    entry = f"{label.rstrip('/')}/{FILE_NAME}"
    hint = f" {entry}:NAME is an entry of that file." if (path / FILE_NAME).is_file() else ""
    if (kinds := {file.suffix for file in files}) and not any(map(_held_out, files)):
        ending = kinds.pop() if len(kinds) == 1 else ""
        hint = f" To read them as one: {label.rstrip('/')}/*{ending}.{hint}"
    raise InputError(
        f"{label}: a folder needs files named train, validation and test "
        f"({', '.join(CONTAINERS)}), one file, or texts alone ({', '.join(SUFFIXES)}); "
        f"{held}.{hint}"
    )


def _held_out(file: Path) -> bool:
    """Whether a file's name has that of a split to hold out in it, like my_test.jsonl."""
    return any(n in _stem(file).lower() for n, s in SPLIT_NAMES.items() if s != "train")


def _folders_of_rows(folder: Path) -> list[Path]:
    """The subfolders, except hidden ones, that hold files of rows at any depth."""
    subs = [p for p in folder.iterdir() if p.is_dir() and not p.is_symlink()]
    return sorted(
        sub
        for sub in subs
        if not sub.name.startswith(".")
        and (not _are_texts(_data_files(sub)) or _folders_of_rows(sub))
    )


def _inside(inside: Sequence[Path], label: str, limit: int | None, numbered: bool) -> Found:
    """The rows of the only subfolder that has some."""
    names = [f"{label.rstrip('/')}/{sub.name}" for sub in inside]
    if len(names) > 1:
        splits = {
            SPLIT_NAMES.get(sub.name.lower()): name for sub, name in zip(inside, names, strict=True)
        }
        way = f"one: {', '.join(names)}"
        if len(splits) == len(names) and None not in splits:
            each = ", ".join(f"{split}: {name}" for split, name in splits.items())
            way = f"a source for each split: data.source: {{{each}}}"
        raise InputError(f"{label}: its rows are in several folders; name {way}.")
    return open_folder(inside[0], names[0], limit, numbered)


def _check_depth(path: Path, label: str, found: Set[str]) -> None:
    """Raise InputError for a folder of a split not found because its rows are further inside."""
    for sub in sorted(path.iterdir()):
        split = SPLIT_NAMES.get(sub.name.lower())
        if split and split not in found and sub.is_dir() and _folders_of_rows(sub):
            name = f"{label.rstrip('/')}/{sub.name}"
            raise InputError(
                f"{name}: its rows are in a folder inside it; name a source for each split: "
                f"data.source: {{{split}: {name}, ...}}."
            )


def _listed(files: Sequence[Path]) -> str:
    return _first([file.name for file in files])


def _first(names: Sequence[str]) -> str:
    further = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + further


def _read(
    files: Sequence[tuple[Path, str]], split: str | None, limit: int | None, numbered: bool
) -> Found:
    """The rows of all files; files without any are skipped and named, unless none has some."""
    if len(files) > 1 and _are_texts([path for path, _ in files]):
        return _read_texts(files[:limit], split)
    tables, parts, digests = [], [], {}
    empty: dict[str, NoRowsError] = {}
    left = limit
    with _counted(files) as progress:
        for path, label in files:
            if left == 0:
                break
            try:
                piece, sha = _read_whole(path, label, left, numbered)
            except NoRowsError as error:
                empty[label] = error
                digests[label] = digest(path, label)  # rows written to it later are a change
                progress.advance()
                continue
            count = piece.table.num_rows
            left = None if left is None else left - count
            tables.append(piece.table)
            parts.append(RowRange.of_lines(label, count, piece.lines, split))
            digests[label] = sha
            progress.advance()
    if not tables:
        raise next(iter(empty.values()))
    if empty:
        which = "this file" if len(empty) == 1 else "these files"
        note(f"{_first(list(empty))}: no rows in {which}; skipped.")
    return Found(join_tables(tables, [part.label for part in parts]), parts, digests)


def _read_whole(path: Path, label: str, limit: int | None, numbered: bool) -> tuple[Piece, str]:
    """A file's rows and digest, which have to be of the same content."""
    before = path.stat()
    piece, sha = read_file(path, label, limit, numbered), digest(path, label)
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise InputError(
            f"{label}: the file was written to while it was read; wait until it is complete, or "
            "name a copy."
        )
    return piece, sha


def _read_texts(files: Sequence[tuple[Path, str]], split: str | None) -> Found:
    """One row per file, with its path in the column `file`."""
    rows, digests = [], {}
    with _counted(files) as progress:
        for path, label in files:
            rows.append({"text": read_document(path, label), "file": label})
            digests[label] = digest(path, label)
            progress.advance()
    parts = [RowRange(label, 1, None, split, "") for _, label in files]
    return Found(to_table(rows, lambda i: files[i][1]), parts, digests)


def _counted(files: Sequence[tuple[Path, str]]) -> AbstractContextManager[Bar]:
    """A bar of files where they are many; each of a few has its own, if it is large."""
    many = len(files) >= _WORTH_A_BAR
    return bar("Reading files", len(files), "files") if many else silent()
