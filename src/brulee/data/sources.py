"""Where rows come from: a bundled data set, Python, a file, a pattern, a folder or the Hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from brulee.data.class_names import class_names
from brulee.data.containers import container_of
from brulee.data.dataset_info import read_dataset_info, split_entry
from brulee.data.divided import is_divided, members
from brulee.data.fields import column_or_field, names_for
from brulee.data.files import open_file, open_files, open_folder, split_of, together
from brulee.data.hub import open_hub
from brulee.data.parallel import is_parallel, open_parallel
from brulee.data.patterns import matches
from brulee.data.rows import Found, RowRange, Rows
from brulee.data.split_names import SPLIT_ORDER
from brulee.errors import InputError, nearest, unknown
from brulee.recipe import given_rows
from brulee.recipe.source import is_pattern

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SOURCES", "MisnamedError", "RowRange", "Rows", "bundled_names", "open_source"]

Resolve = Callable[[str], Path]
_BUNDLED = "bundled/"
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?")


@dataclass(frozen=True)
class _Asked:
    """What to open: `limit` rows per split; `numbered` columns for a file without a header."""

    name: str
    resolve: Resolve
    limit: int | None = None
    numbered: bool = False


class MisnamedError(InputError):
    """A source or column that does not exist: the name is wrong, not the rows.

    `key` is the key of the recipe's task that holds the name.
    """

    def __init__(self, key: str, sentence: str) -> None:
        super().__init__(sentence)
        self.key = key


def open_source(
    name: str,
    resolve: Resolve = Path,
    columns: Mapping[str, str] = {},
    limit: int | None = None,
) -> Rows:
    """Open a source named in one of the forms of `SOURCES`.

    `columns` maps the name a template uses to the source's name of the column, to a field of a
    column of objects (`translation.en`), or to the column's number in a CSV or TSV file without a
    header. `limit` keeps the first rows, per split where the source
    publishes splits. Raises InputError naming the file and the line or row of whatever is missing
    or malformed; MisnamedError for a source or column that does not exist.
    """
    numbered = bool(columns) and all(source.isdecimal() for source in columns.values())
    asked = _Asked(name, resolve, limit, numbered)
    found = SOURCES[_form(name, resolve)](asked)
    table = _rename(found.table, columns, given_rows.label(name))
    return Rows(name, table, found.parts, found.digests, class_names(found.table, columns))


def bundled_names() -> list[str]:
    """The names that `bundled/NAME` accepts."""
    folder = resources.files("brulee.data") / "bundled"
    return sorted(f.name.removesuffix(".jsonl") for f in folder.iterdir() if ".jsonl" in f.name)


def _form(name: str, resolve: Resolve) -> str:
    if name.startswith(_BUNDLED):
        return "bundled"
    if name.startswith(given_rows.PREFIX):
        return "memory"
    path = _path(name, resolve)
    if path.is_dir():
        return "folder"
    if path.exists():
        return "file"
    if is_divided(name):
        return "divided"
    if is_pattern(name):
        return "pattern"
    if split_entry(name):
        return "entry"
    if is_parallel(name):
        return "parallel"
    _refuse_missing_path(name, path)
    return "hub"


def _path(name: str, resolve: Resolve) -> Path:
    """Resolve a name to a path; MisnamedError if the operating system rejects it."""
    try:
        path = resolve(name)
        path.exists()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        shown = name if len(name) <= 80 else f"{name[:77]}..."
        said = f"{shown!r} is not a file or folder: {reason.lower()}."
        raise MisnamedError("source", said) from None
    return path


def _refuse_missing_path(name: str, path: Path) -> None:
    """A Hub id is `name` or `owner/name`; anything that looks like a file is a missing file."""
    beside = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
    readable = [b for b in beside if container_of(Path(b)) or (path.parent / b).is_dir()]
    close = nearest(path.name, readable) or [b for b in readable if b.split(".")[0] == path.name]
    looks_like_path = (
        not _HUB_NAME.fullmatch(name)
        or container_of(path) is not None
        or re.search(r"\.[A-Za-z]+$", name) is not None
        or ("/" in name and path.parent.is_dir())
        or bool(close)
    )
    if looks_like_path:
        said = f"{name}: no such file or folder.{_did_you_mean(path, close)}"
        raise MisnamedError("source", said)
    near_bundled = nearest(name, bundled_names()) if "/" not in name else []
    if near_bundled:
        said = f"{name}: no such source; did you mean bundled/{near_bundled[0]}?"
        raise MisnamedError("source", said)


def _did_you_mean(path: Path, close: Sequence[str]) -> str:
    return f" Did you mean {' or '.join(str(path.with_name(c)) for c in close)}?" if close else ""


def _open_bundled(asked: _Asked) -> Found:
    short = asked.name.removeprefix(_BUNDLED)
    if short not in bundled_names():
        raise MisnamedError("source", str(unknown("bundled data set", short, bundled_names())))
    with resources.as_file(resources.files("brulee.data") / "bundled" / f"{short}.jsonl") as file:
        return open_file(file, asked.name, asked.limit)


def _open_memory(asked: _Asked) -> Found:
    path, name = asked.resolve(asked.name), given_rows.label(asked.name)
    if not path.exists():
        raise InputError(
            f"{asked.name}: these rows were given from Python and are not at {path}; a run keeps "
            "them in its folder, under rows/. Give them again."
        )
    if given_rows.digest_of(path) != asked.name.rpartition(".")[2]:
        raise InputError(
            f"{path}: these are not the rows that were given from Python, whose digest is in the "
            "name; bring them back, or give them again."
        )
    opened = open_folder if path.is_dir() else open_file
    return opened(path, name, asked.limit)


def _open_path(asked: _Asked) -> Found:
    path = asked.resolve(asked.name)
    opened = open_folder if path.is_dir() else open_file
    return opened(path, asked.name, asked.limit, asked.numbered)


def _open_pattern(asked: _Asked) -> Found:
    try:
        files = matches(asked.name, asked.resolve)
    except InputError as error:
        raise MisnamedError("source", str(error)) from None
    return open_files(files, asked.name, asked.limit, asked.numbered)


def _open_divided(asked: _Asked) -> Found:
    found = []
    for split, name in members(asked.name):
        own = replace(asked, name=name)
        form = _form(name, asked.resolve) if name else ""
        if form in ("", "divided", "memory"):
            said = (
                f"{asked.name}: {split} has no source of its own; give a file, or another source."
            )
            raise MisnamedError("source", said)
        opened = SOURCES[form](own)
        if any(part.split for part in opened.parts):  # a folder or a Hub id with splits
            opened = split_of(opened, split, name)
        parts = [replace(part, split=split) for part in opened.parts]
        found.append(Found(opened.table, parts, opened.digests))
    ordered = [one for split in SPLIT_ORDER for one in found if one.parts[0].split == split]
    return together(ordered)


def _open_entry(asked: _Asked) -> Found:
    named = split_entry(asked.name)
    assert named is not None, "_form() saw that it is one"
    entry = read_dataset_info(asked.resolve(named[0]), named[1])
    limit = min(filter(None, (asked.limit, entry.limit)), default=None)
    if entry.hub:
        found = open_hub(entry.source, limit, entry.split)
    elif Path(entry.source).exists():
        found = _open_path(_Asked(entry.source, Path, limit))
    else:
        raise InputError(f"{asked.name}: file_name {entry.source}: no such file or folder.")
    if entry.split and not entry.hub:
        found = split_of(found, entry.split, asked.name)
    return Found(_rename(found.table, entry.columns, asked.name), found.parts, found.digests)


def _open_parallel(asked: _Asked) -> Found:
    return open_parallel(asked.name, asked.resolve, asked.limit)


def _open_hub(asked: _Asked) -> Found:
    return open_hub(asked.name, asked.limit)


def _rename(table: pa.Table, columns: Mapping[str, str], name: str) -> pa.Table:
    import pyarrow as pa

    renamed = {}
    for target, source in columns.items():
        found = column_or_field(table, source)
        if found is None:
            said = str(unknown("column", source, names_for(table, source), name))
            raise MisnamedError("columns", said)
        renamed[target] = found
    taken = {*columns, *columns.values()}
    kept = {c: table[c] for c in table.column_names if c not in taken}
    return pa.table({**renamed, **kept}) if columns else table.replace_schema_metadata(None)


SOURCES: dict[str, Callable[[_Asked], Found]] = {
    "bundled": _open_bundled,  # bundled/support-chats
    "memory": _open_memory,  # memory/rows.0123456789abcdef: rows passed from Python
    "file": _open_path,  # chats.jsonl
    "divided": _open_divided,  # train=chats.jsonl,test=reviewed.csv
    "pattern": _open_pattern,  # chats/*.jsonl
    "folder": _open_path,  # chats, with train.jsonl and test.jsonl in it
    "entry": _open_entry,  # data/dataset_info.json:alpaca_en, as in LLaMA-Factory
    "parallel": _open_parallel,  # fra-eng.{fra,eng}, aligned by line
    "hub": _open_hub,  # owner/name or owner/name:config
}
