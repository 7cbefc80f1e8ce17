"""Train, validation and test splits by a salted hash of the group, so that groups do not leak."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from brulee.data.assignment import assign
from brulee.data.grouping import Groups, group
from brulee.data.row_texts import is_id
from brulee.data.shingles import SHINGLE
from brulee.data.sources import Rows
from brulee.errors import InputError
from brulee.recipe import SplitSpec

NAMES = ("train", "validation", "test")
_MOST_LABELS = 20
_MOST_INSTRUCTIONS = 100
_ROWS_PER_INSTRUCTION = 10


@dataclass(frozen=True)
class Splits:
    """Ascending row indices of each split; exact duplicates are in none.

    `groups` is the group number of every row of the source. `near_duplicates` counts the rows that
    joined an earlier row's group as near-duplicates; `shared_groups` counts the groups that each
    pair of splits has in common, which only published splits can.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    spec: SplitSpec
    columns: tuple[str, ...] = ()
    duplicates: int = 0
    shared_groups: Mapping[str, int] = field(default_factory=dict)
    groups: tuple[int, ...] = ()
    near_duplicates: int = 0

    def manifest(self, rows: Rows) -> dict[str, Any]:
        """The content of split.json: salt, shares, counts, label histograms, digest of the ids.

        A row's id is the sha256 of its content, so the digest does not depend on the order of
        the file. `groups_shared` counts the groups that two published splits have in common.
        """
        parts = {name: getattr(self, name) for name in NAMES}
        return {
            "salt": self.spec.salt,
            "shares": {"validation": self.spec.validation, "test": self.spec.test},
            "published": sorted(rows.published),
            "group_columns": list(self.columns),
            "stratify": self.spec.stratify,
            "groups": len(set(self.groups)),
            "counts": {name: len(part) for name, part in parts.items()},
            "duplicates_removed": self.duplicates,
            "near_duplicates_joined": self.near_duplicates,
            "groups_shared": dict(self.shared_groups),
            "labels": _histograms(rows, parts),
            "ids_sha256": {name: _ids_digest(rows, part) for name, part in parts.items()},
        }


def split_rows(
    rows: Rows, spec: SplitSpec, source_columns: Sequence[str], read_columns: Sequence[str] = ()
) -> Splits:
    """Hold out shares of the rows, keeping the rows of a group together.

    Published splits are kept; only a missing one is cut from train. The group is the column(s)
    `spec.group`, else the normalised text of `source_columns`; groups with near-duplicate source
    texts are merged unless `spec.near_duplicates` is false. A row that repeats an earlier row of
    its split in all of `read_columns` (if none are given, in all but id columns) is dropped.

    From 2,000 groups on, sha256(salt|group) as a fraction is compared with the shares, so a row's
    split depends only on its group. This is stable under reordering, and under appending and
    subsetting unless that adds or removes the near-duplicate with the group's smallest key. With
    fewer groups, those of lowest hash fill each split to its exact size (rounded, in rows), which
    is stable under reordering but not appending; likewise with `spec.stratify`, where each label
    is filled to its share. Raises InputError for a missing column, for labels that hardly repeat
    and for a split that leaves nothing to train on.
    """
    if spec.test + spec.validation >= 1:
        raise InputError(
            f"split: test {spec.test:g} + validation {spec.validation:g} leave nothing to train on."
        )
    columns, texts = _group_columns(spec, source_columns, rows), _Texts(rows)
    groups = _groups(texts, spec, columns, source_columns)
    labels = None if spec.stratify is None else _labels(rows, spec.stratify)
    published = rows.published or {"train": list(range(len(rows)))}
    compared = read_columns or [c for c in rows.columns if not is_id(c)] or rows.columns
    contents = list(map(digest, texts.together(compared)))
    kept = {name: _firsts(published.get(name, ()), contents) for name in NAMES}
    removed = sum(map(len, published.values())) - sum(map(len, kept.values()))
    if not published.get("train"):
        raise InputError(f"{rows.name}: it publishes {', '.join(published)} but no train split.")
    wanted = {
        name: share
        for name, share in (("test", spec.test), ("validation", spec.validation))
        if share > 0 and name not in published
    }
    members: dict[str, list[int]] = {}
    for i in kept["train"]:
        members.setdefault(groups.keys[groups.numbers[i]], []).append(i)
    cut = assign(members, wanted, spec.salt, labels)
    final = {name: tuple(sorted(cut.get(name, kept[name]))) for name in NAMES}
    if not final["train"]:
        why = f", {groups.joined} rows joined as near-duplicates (split.near_duplicates: false)"
        joined = why if groups.joined else ""
        had = f"{_many(len(kept['train']), 'row')} in {_many(len(members), 'group')}"
        alone = "; a group is never divided, so give others or hold out none (split: {test: 0})"
        raise InputError(
            f"{rows.name}: the split leaves no rows to train on; {had} by "
            f"{', '.join(columns)}{joined}{alone if len(members) == 1 else ''}."
        )
    return Splits(
        **final,
        spec=spec,
        columns=columns,
        duplicates=removed,
        shared_groups=_shared_groups(final, groups.numbers),
        groups=groups.numbers,
        near_duplicates=groups.joined,
    )


def normalise(value: Any) -> str:
    """Normalise a text for comparison: NFKC, case folding, single spaces."""
    text = value if isinstance(value, str) else _canonical(value)
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def digest(text: str) -> bytes:
    """A 16-byte digest of a text, as the texts of all rows may not fit in memory."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _many(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _group_columns(spec: SplitSpec, source_columns: Sequence[str], rows: Rows) -> tuple[str, ...]:
    if spec.group is None:
        return tuple(source_columns) or tuple(rows.columns)
    return (spec.group,) if isinstance(spec.group, str) else tuple(spec.group)


def telling_texts(rows: Rows, columns: Sequence[str]) -> list[str]:
    """The text of each row in some columns (default: all), for finding near-duplicates.

    A column with few, long values holds instructions or system messages that many rows share; it
    is left out, as it does not make rows near-duplicates.
    """
    return _telling(_Texts(rows), tuple(columns) or tuple(rows.columns))


class _Texts:
    """The normalised texts of the rows' columns; each column is read once."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self._read: dict[str, list[str]] = {}

    def of(self, column: str) -> list[str]:
        """The normalised text of each row in a column. Raises InputError like `Rows.column`."""
        if column not in self._read:
            self._read[column] = list(map(normalise, self.rows.column(column)))
        return self._read[column]

    def together(self, columns: Sequence[str]) -> Iterator[str]:
        """The joined text of each row in some columns; a single column is not copied."""
        read = [self.of(column) for column in columns]
        return map("\x1f".join, zip(*read, strict=True))


def _telling(texts: _Texts, columns: Sequence[str]) -> list[str]:
    told = [column for column in columns if not _is_instruction(texts.of(column))]
    return list(texts.together(told or columns))


def _is_instruction(values: Sequence[str]) -> bool:
    distinct = set(values)
    few = len(distinct) < _MOST_INSTRUCTIONS
    repeated = len(distinct) * _ROWS_PER_INSTRUCTION <= len(values)
    return few and repeated and sum(map(_words, distinct)) >= SHINGLE * len(distinct)


def _words(text: str) -> int:
    return len(text.split())


def _groups(
    texts: _Texts, spec: SplitSpec, columns: Sequence[str], source_columns: Sequence[str]
) -> Groups:
    telling = None
    if spec.near_duplicates:
        telling = _telling(texts, tuple(source_columns) or tuple(texts.rows.columns))
    try:
        keys = list(texts.together(columns))
    except InputError as error:
        where = "" if spec.group is None else "split.group: "
        raise InputError(f"{where}{error}") from None
    return group(keys, telling)


def _labels(rows: Rows, column: str) -> dict[int, str]:
    try:
        labels = dict(enumerate(map(normalise, rows.column(column))))
    except InputError as error:
        raise InputError(f"split.stratify: {error}") from None
    different = len(set(labels.values()))
    if different > max(len(rows) // 2, 2):
        raise InputError(
            f"{rows.name}: split.stratify names the column {column!r}, which has {different} "
            f"different values in {len(rows)} rows; name a column of labels that repeat."
        )
    return labels


def _firsts(indices: Sequence[int], contents: Sequence[bytes]) -> list[int]:
    first: dict[bytes, int] = {}
    for i in indices:
        first.setdefault(contents[i], i)
    return list(first.values())


def _shared_groups(parts: Mapping[str, Sequence[int]], groups: Sequence[int]) -> dict[str, int]:
    held = {name: {groups[i] for i in part} for name, part in parts.items()}
    pairs = (("train", "validation"), ("train", "test"), ("validation", "test"))
    return {f"{a}, {b}": len(held[a] & held[b]) for a, b in pairs}


def _histograms(
    rows: Rows, parts: Mapping[str, Sequence[int]]
) -> dict[str, dict[str, dict[str, int]]]:
    """Counts per split for each column that looks like a label: few values, on average repeated."""
    found = {}
    for column in rows.columns:
        values = ["" if v is None else str(v) for v in rows.column(column)]
        distinct = set(values)
        if 1 < len(distinct) <= min(_MOST_LABELS, len(values) // 2) and not is_id(column):
            counts = {n: Counter(values[i] for i in part) for n, part in parts.items()}
            found[column] = {name: dict(sorted(count.items())) for name, count in counts.items()}
    return found


def _ids_digest(rows: Rows, part: Sequence[int]) -> str:
    ids = sorted(hashlib.sha256(_canonical(r).encode()).hexdigest() for r in rows.some(part))
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
