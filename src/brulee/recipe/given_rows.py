"""Rows passed from Python, written to files that a recipe can name.

Rows are an iterable of mappings (a list, a generator), a table (pandas, polars, Arrow, `datasets`),
or a mapping from splits to those. They become a JSON array with one row per line, in a file whose
name contains its SHA-256: equal rows are the same source.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID

from brulee.errors import InputError, nearest, unknown
from brulee.recipe.base import SPLITS

PREFIX = "memory/"  # memory/NAME.DIGEST
_DIGITS = 16  # of the SHA-256 in a source's name
_DEEPEST = 64
_AS_TEXT = (datetime, date, time, timedelta, Decimal, UUID, PurePath)


def stored(folder: Path, source: str) -> Path:
    """The file or folder inside `folder` that stores a source such as `memory/rows.0123abcd`."""
    name = source.removeprefix(PREFIX)
    alone = folder / f"{name}.json"
    return folder / name if (folder / name).is_dir() else alone


def label(source: str) -> str:
    """The name of a source in messages: `rows` for rows passed from Python, else its own."""
    passed = source.startswith(PREFIX)
    return source.removeprefix(PREFIX).rpartition(".")[0] if passed else source


def digest_of(path: Path) -> str:
    """The digest in the name of a stored source, from the contents of its file or folder."""
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        held = "".join(f"{file.stem} {_sha256(file)}\n" for file in files)
        return hashlib.sha256(held.encode()).hexdigest()[:_DIGITS]
    return _sha256(path)[:_DIGITS]


def take_rows(data: Any, hold: Callable[[], Path]) -> Any:
    """The `data` section with rows replaced by names of files in the folder that `hold` returns.

    Raises InputError naming the row and column of anything that is not a row or a valid value.
    """
    return _taken(data, hold, {})


def _taken(data: Any, hold: Callable[[], Path], names: dict[str, str]) -> Any:
    if isinstance(data, list):
        _refuse_bare(data)
        return [_taken(member, hold, names) for member in data]
    if not isinstance(data, Mapping):
        if _is_rows(data):
            raise InputError(
                f"data: an object of type {type(data).__name__}; rows stand under data.source: "
                '{"data": {"source": rows}}.'
            )
        return data
    taken = dict(data)
    if isinstance(taken.get("tasks"), list):
        taken["tasks"] = _taken(taken["tasks"], hold, names)
    if _is_rows(taken.get("source")):
        taken["source"] = _keep(taken["source"], taken.get("name"), hold(), names)
    return taken


def _refuse_bare(members: list[Any]) -> None:
    """Raise InputError for rows in place of a mixture's tasks."""
    for member in members:
        keys = [str(key) for key in member] if isinstance(member, Mapping) else []
        if keys and not any(nearest(key, ("source", "tasks")) for key in keys):
            raise InputError(
                "data: a list here is a mixture of tasks, and one of them has no source; rows "
                'stand under data.source: {"data": {"source": rows}}.'
            )


def _is_rows(value: Any) -> bool:
    # A set has no order, so equal rows would not give the same run.
    no_rows = (str, bytes, os.PathLike, set, frozenset)
    if isinstance(value, Mapping) and _names_sources(value):
        return False
    return not isinstance(value, no_rows) and (_table(value) != "" or isinstance(value, Iterable))


def _names_sources(value: Mapping[Any, Any]) -> bool:
    """Whether a mapping from splits has files, or other sources, and not rows."""
    held = [one for own in value.values() for one in (own if isinstance(own, list) else [own])]
    return bool(held) and all(isinstance(one, str | os.PathLike) for one in held)


def _keep(given: Any, name: Any, folder: Path, names: dict[str, str]) -> str:
    """Write rows under a name that is unique in the recipe; returns the name of the source."""
    plain = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name)
    wanted = str(name) if plain else "rows"
    if isinstance(given, Mapping):
        digest, path = _keep_splits(given, wanted, folder)
    else:
        path = folder / f".{wanted}.tmp"
        _write(given, wanted, path)
        digest = digest_of(path)
    for number in count(1):
        called = wanted if number == 1 else f"{wanted}-{number}"
        if names.setdefault(called, digest) == digest:
            break
    final = folder / f"{called}.{digest}{'' if path.is_dir() else '.json'}"
    if final.is_dir():
        shutil.rmtree(final)  # the same splits, of another task
    path.replace(final)
    return f"{PREFIX}{called}.{digest}"


def _keep_splits(given: Mapping[Any, Any], name: str, folder: Path) -> tuple[str, Path]:
    path = folder / f".{name}.tmp"
    path.mkdir()
    if not given:
        raise InputError(f"{name}: no rows: the mapping is empty.")
    for split, rows in given.items():
        if split not in SPLITS:
            raise unknown("split", split, SPLITS, f"{name}: a mapping has splits for its keys")
        _write(rows, f"{name}/{split}.json", path / f"{split}.json")
    return digest_of(path), path


def _write(given: Any, where: str, file: Path) -> None:
    number = 0
    with file.open("w", encoding="utf-8") as out:
        for number, row in enumerate(_rows(given, where), start=1):
            out.write("[\n" if number == 1 else ",\n")
            out.write(_line(row, f"{where}, row {number}"))
        out.write("\n]\n")
    if not number:
        spent = " An iterator gives its rows once: make a list of it." if _once(given) else ""
        raise InputError(f"{where}: no rows.{spent}")


def _line(row: Any, where: str) -> str:
    if not isinstance(row, Mapping):
        shown = repr(row)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        raise InputError(
            f"{where}: {shown}, of type {type(row).__name__}; a row is a mapping of the names of "
            'columns to values, such as {"question": "...", "answer": "..."}.'
        )
    values = {
        _name(key, where): _plain(value, f"{where}: column {key!r}") for key, value in row.items()
    }
    # A lone surrogate, which UTF-8 cannot encode, is escaped here and refused when it is read.
    text = json.dumps(values, ensure_ascii=False)
    return text if _encodes(text) else json.dumps(values)


def _rows(given: Any, where: str) -> Iterator[Any]:
    table = _table(given)
    if table == "lazy":
        raise InputError(f"{where}: a LazyFrame has no rows yet; give rows.collect().")
    if table:
        names = [_name(name, where) for name in _columns(given)]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{where}: two columns are called {name!r}.")
    if table == "pandas":
        return iter(given.to_dict("records"))
    if table == "polars":
        return iter(given.iter_rows(named=True))
    if table == "arrow":
        return (row for batch in given.to_batches() for row in batch.to_pylist())
    if table == "datasets":
        return iter(given.with_format(None))
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping):
        raise InputError(
            f"{where}: an object of type {type(given).__name__}; rows are a list or an iterator of "
            "mappings, or a table of pandas, polars, pyarrow or datasets."
        )
    return iter(given)


def _columns(given: Any) -> list[Any]:
    return list(given.column_names if hasattr(given, "column_names") else given.columns)


def _table(given: Any) -> str:
    """Which library's table this is, without importing it; "" if it is not a table."""
    known = {
        ("pandas", "DataFrame"): "pandas",
        ("polars", "DataFrame"): "polars",
        ("polars", "LazyFrame"): "lazy",
        ("pyarrow", "Table"): "arrow",
        ("datasets", "Dataset"): "datasets",
    }
    kinds = ((kind.__module__.partition(".")[0], kind.__name__) for kind in type(given).__mro__)
    return next((known[kind] for kind in kinds if kind in known), "")


def _once(given: Any) -> bool:
    return isinstance(given, Iterator)


def _name(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise InputError(
            f"{where}: the name of a column is {key!r}, of type {type(key).__name__}; it must be a "
            "text."
        )
    return str(key)


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    """A value converted for JSON: dates and the like to text, missing values to null."""
    if value is None or isinstance(value, bool):
        return value
    if depth > _DEEPEST:
        raise InputError(f"{where}: nested more than {_DEEPEST} levels deep.")
    if isinstance(value, str) and not _is_enum(value):
        return str(value)
    if isinstance(value, int) and not _is_enum(value):
        return _whole(int(value), where)
    if isinstance(value, float):
        return _number(float(value), where)
    if _missing(value):
        return None
    if isinstance(value, Mapping):
        return {_name(k, where): _plain(v, where, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, where, depth + 1) for item in value]
    if isinstance(value, _AS_TEXT):
        return str(value)
    unwrapped = _unwrapped(value)
    if unwrapped is not value:
        return _plain(unwrapped, where, depth + 1)
    raise InputError(
        f"{where} holds a value of type {type(value).__name__}; valid are texts, numbers, true, "
        "false, None, dates, and lists and mappings of those."
    )


def _unwrapped(value: Any) -> Any:
    """A NumPy scalar as a Python value, an array or tensor as a list; anything else unchanged."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind in ("M", "m"):  # tolist() would give nanoseconds
        return str(value) if getattr(value, "shape", None) == () else value.astype(str).tolist()
    unwrap = getattr(value, "tolist", None) if hasattr(value, "dtype") else None
    return unwrap() if callable(unwrap) else value


def _whole(value: int, where: str) -> int:
    if abs(value) >= 2**64:
        raise InputError(f"{where} holds a number too large to be read.")
    return value


def _number(value: float, where: str) -> float | None:
    if math.isinf(value):
        raise InputError(f"{where} holds an infinite number.")
    return None if math.isnan(value) else value


def _missing(value: Any) -> bool:
    kind = type(value).__name__
    return kind in ("NAType", "NaTType") or (kind.endswith("64") and str(value) == "NaT")


def _is_enum(value: Any) -> bool:
    return hasattr(type(value), "__members__")


def _encodes(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
