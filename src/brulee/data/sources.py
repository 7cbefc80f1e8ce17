"""Rows from a bundled data set, a file, a folder or the Hub, and where each came from."""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from brulee.data.containers import CONTAINERS, Piece, container_of, digest, read_file
from brulee.data.tables import join_tables, to_table
from brulee.errors import InputError, nearest, unknown

if TYPE_CHECKING:
    import pyarrow as pa

Resolve = Callable[[str], Path]
_BUNDLED = "bundled/"
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
_SPLIT_ORDER = ("train", "validation", "test")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?")


@dataclass(frozen=True)
class Part:
    """A run of rows that came from one place: `count` rows of one file or one Hub split."""

    label: str
    count: int
    lines: list[int] | None
    split: str | None = None


class Rows:
    """An Arrow table, held by `datasets`, that knows where each row came from."""

    def __init__(
        self, name: str, table: pa.Table, parts: Sequence[Part], digests: Mapping[str, str]
    ) -> None:
        import datasets

        self.name = name
        self.columns: list[str] = list(table.column_names)
        self.digests = dict(digests)
        self._parts = tuple(parts)
        # A fingerprint of our own: the one it would make pickles the table, which some versions of
        # pyarrow refuse.
        self._dataset = datasets.Dataset(table, fingerprint=_fingerprint(name, digests))
        self.published = _published(self._parts)

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]], name: str = "rows") -> Rows:
        """Rows held in memory, for callers that have no file."""
        table = to_table(records, lambda i: f"{name}, row {i + 1}")
        return cls(name, table, [Part(name, len(records), None)], {})

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, i: int) -> dict[str, Any]:
        if not -len(self) <= i < len(self):
            raise IndexError(f"{self.name} has {len(self)} rows, so no row {i}")
        row: dict[str, Any] = self._dataset[i]
        return row

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._dataset)

    def column(self, name: str) -> list[Any]:
        """Every value of one column; InputError listing the columns present if it is not one.

        A template cannot spell `conversation-id`, so `conversation_id` finds that column as well.
        """
        spelled = {c.replace("-", "_"): c for c in self.columns} | {c: c for c in self.columns}
        if name not in spelled:
            raise unknown("column", name, self.columns, self.name)
        values: list[Any] = self._dataset.data[spelled[name]].to_pylist()
        return values

    def replaced(self, added: Mapping[str, Sequence[Any]], dropped: Iterable[str] = ()) -> Rows:
        """The same rows in the same places, with some columns put in and others left out."""
        import pyarrow as pa

        gone = {*added, *dropped}
        kept = {c: self._dataset.data[c] for c in self.columns if c not in gone}
        return Rows(self.name, pa.table({**added, **kept}), self._parts, self.digests)

    def place(self, i: int) -> str:
        """Where a row stands: "chats.jsonl, line 12", or "row 12" for parquet and the Hub."""
        for part in self._parts:
            if i < part.count:
                number = f"row {i + 1}" if part.lines is None else f"line {part.lines[i]}"
                return f"{part.label}, {number}"
            i -= part.count
        raise IndexError(f"{self.name} has {len(self)} rows")


def _fingerprint(name: str, digests: Mapping[str, str]) -> str:
    text = "\n".join([name, *(f"{file} {digest}" for file, digest in sorted(digests.items()))])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Found:
    table: pa.Table
    parts: list[Part]
    digests: dict[str, str] = field(default_factory=dict)


def open_source(
    name: str,
    resolve: Resolve = Path,
    columns: Mapping[str, str] = {},
    limit: int | None = None,
) -> Rows:
    """Open the rows called `bundled/NAME`, a file, a folder of split files, or a Hub id.

    `columns` maps the name a template uses to the source's own; `limit` keeps the first rows, of
    each split where the source publishes splits. Raises InputError naming the file and the line
    or row of whatever is missing or malformed.
    """
    path = resolve(name)
    kind = _kind(name, path)
    found = SOURCES[kind](name, path, limit)
    return Rows(name, _rename(found.table, columns, name), found.parts, found.digests)


def bundled_names() -> list[str]:
    """The names that `bundled/NAME` accepts."""
    folder = resources.files("brulee.data") / "bundled"
    return sorted(f.name.removesuffix(".jsonl") for f in folder.iterdir() if ".jsonl" in f.name)


def _kind(name: str, path: Path) -> str:
    if name.startswith(_BUNDLED):
        return "bundled"
    if path.is_dir():
        return "folder"
    if path.exists():
        return "file"
    _refuse_missing_path(name, path)
    return "hub"


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
        raise InputError(f"{name}: no such file or folder.{_did_you_mean(path, close)}")
    near_bundled = nearest(name, bundled_names()) if "/" not in name else []
    if near_bundled:
        raise InputError(f"{name}: no such source; did you mean bundled/{near_bundled[0]}?")


def _did_you_mean(path: Path, close: Sequence[str]) -> str:
    return f" Did you mean {' or '.join(str(path.with_name(c)) for c in close)}?" if close else ""


def _open_bundled(name: str, _path: Path, limit: int | None) -> _Found:
    short = name.removeprefix(_BUNDLED)
    if short not in bundled_names():
        raise unknown("bundled data set", short, bundled_names())
    with resources.as_file(resources.files("brulee.data") / "bundled" / f"{short}.jsonl") as file:
        return _one_file(file, name, limit)


def _open_file(name: str, path: Path, limit: int | None) -> _Found:
    return _one_file(path, name, limit)


def _one_file(path: Path, label: str, limit: int | None) -> _Found:
    piece = read_file(path, label, limit)
    return _Found(piece.table, [_part(piece, label, None)], {label: digest(path)})


def _part(piece: Piece, label: str, split: str | None) -> Part:
    return Part(label, piece.table.num_rows, piece.lines, split)


def _open_folder(name: str, path: Path, limit: int | None) -> _Found:
    files = sorted(p for p in path.iterdir() if p.is_file() and container_of(p))
    by_split = {split: [f for f in files if _split_of(f) == split] for split in _SPLIT_ORDER}
    if not any(by_split.values()):
        return _lone_file(name, files, limit)
    for split, shards in by_split.items():
        if len(shards) > 1 and not all("-of-" in shard.name for shard in shards):
            raise InputError(f"{name}: two files for {split}: {', '.join(s.name for s in shards)}.")
    tables, parts, digests = [], [], {}
    for split in _SPLIT_ORDER:
        left = limit
        for file in by_split[split]:
            if left == 0:
                break
            label = f"{name.rstrip('/')}/{file.name}"
            piece = read_file(file, label, left)
            left = None if left is None else left - piece.table.num_rows
            tables.append(piece.table)
            parts.append(_part(piece, label, split))
            digests[label] = digest(file)
    return _Found(join_tables(tables, list(digests)), parts, digests)


def _split_of(file: Path) -> str | None:
    stem = re.sub(r"-\d+-of-\d+$", "", file.name.split(".")[0])
    return _SPLIT_NAMES.get(stem.lower())


def _lone_file(name: str, files: list[Path], limit: int | None) -> _Found:
    if len(files) == 1:
        return _one_file(files[0], f"{name.rstrip('/')}/{files[0].name}", limit)
    held = f"it holds {', '.join(f.name for f in files)}" if files else "it holds no data file"
    raise InputError(
        f"{name}: a folder needs files named train, validation and test "
        f"({', '.join(CONTAINERS)}), or one file; {held}."
    )


def _open_hub(name: str, _path: Path, limit: int | None) -> _Found:
    import datasets

    if not datasets.config.HF_HUB_OFFLINE and not _reachable(datasets.config.HF_ENDPOINT):
        raise InputError(
            f"{name}: no such file or folder here, and the Hub cannot be reached; "
            "HF_HUB_OFFLINE=1 uses what was downloaded before."
        )
    repository, _, config = name.partition(":")
    try:
        loaded = datasets.load_dataset(repository, config or None)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(". ")
        raise InputError(
            f"{name}: neither a file or folder here, nor a data set that the Hub gave: {reason}."
        ) from None
    splits = {_SPLIT_NAMES.get(str(split)): data for split, data in loaded.items()}
    chosen = [(split, splits[split]) for split in _SPLIT_ORDER if split in splits]
    if not chosen:
        raise InputError(f"{name}: no split is named train, but {', '.join(loaded)}.")
    tables = [_plain(data, limit) for _, data in chosen]
    labels = [f"{name} ({split})" for split, _ in chosen]
    parts = [
        Part(label, table.num_rows, None, split)
        for label, table, (split, _) in zip(labels, tables, chosen, strict=True)
    ]
    digests = {label: str(d._fingerprint) for label, (_, d) in zip(labels, chosen, strict=True)}
    return _Found(join_tables(tables, labels), parts, digests)


def _reachable(endpoint: str) -> bool:
    """Whether the Hub's name resolves; without this the client retries for half a minute."""
    if getproxies().get("https"):
        return True
    try:
        socket.getaddrinfo(urlsplit(endpoint).hostname, None)
    except OSError:
        return False
    return True


def _plain(data: Any, limit: int | None) -> pa.Table:
    kept = data if limit is None else data.select(range(min(limit, len(data))))
    return kept.with_format("arrow")[:]


def _rename(table: pa.Table, columns: Mapping[str, str], name: str) -> pa.Table:
    import pyarrow as pa

    for source in columns.values():
        if source not in table.column_names:
            raise unknown("column", source, table.column_names, name)
    taken = {*columns, *columns.values()}
    kept = {c: table[c] for c in table.column_names if c not in taken}
    renamed = {target: table[source] for target, source in columns.items()}
    return pa.table({**renamed, **kept}) if columns else table.replace_schema_metadata(None)


def _published(parts: Iterable[Part]) -> dict[str, list[int]]:
    published: dict[str, list[int]] = {}
    start = 0
    for part in parts:
        if part.split is not None:
            indices = range(start, start + part.count)
            published.setdefault(part.split, []).extend(indices)
        start += part.count
    return published


SOURCES: dict[str, Callable[[str, Path, int | None], _Found]] = {
    "bundled": _open_bundled,
    "file": _open_file,
    "folder": _open_folder,
    "hub": _open_hub,
}
