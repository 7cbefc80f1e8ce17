"""Train, validation and test splits by a salted hash of the group, so that groups do not leak."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from brulee.data.assignment import assign
from brulee.data.grouping import ComparedTexts, Groups, group
from brulee.data.normalised import Normalised, canonical, digest, normalise, telling_texts
from brulee.data.row_texts import is_id, is_label
from brulee.data.sources import Rows
from brulee.errors import InputError
from brulee.progress import bar
from brulee.recipe import SplitSpec

NAMES = ("train", "validation", "test")
_MOST_LABELS = 20
_LONGEST_LABEL = 100
_WORTH_A_BAR = 20_000  # rows


@dataclass(frozen=True)
class Splits:
    """Ascending row indices of each split; exact duplicates are in none.

    `groups` is the group number of every row of the source. `near_duplicates` counts the rows that
    joined an earlier row's group as near-duplicates; `shared_groups` counts the groups that each
    pair of splits has in common, which only published splits can. `near` is that of `Groups`, found
    in `near_columns`.
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
    near: Sequence[int] | None = None
    near_columns: tuple[str, ...] = ()

    def manifest(self, rows: Rows) -> dict[str, Any]:
        """The content of split.json: salt, shares, counts, label histograms, digest of the ids.

        A row's id is the sha256 of its content, so the digest does not depend on the order of
        the file. `groups_shared` counts the groups that two published splits have in common.
        Columns that repeat up to 20 values are `labels` if these are short (fewer than eight words,
        at most 100 characters), else `repeated_texts`, of which only the number is given.
        """
        parts = {name: getattr(self, name) for name in NAMES}
        labels, texts = _histograms(rows, parts)
        kept = sum(map(len, parts.values()))
        with bar("Recording the split", kept, "rows", _WORTH_A_BAR) as progress:
            ids = {name: _ids_digest(rows, part, progress.advance) for name, part in parts.items()}
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
            "labels": labels,
            "repeated_texts": texts,
            "ids_sha256": ids,
        }


def split_rows(
    rows: Rows, spec: SplitSpec, source_columns: Sequence[str], read_columns: Sequence[str] = ()
) -> Splits:
    """Hold out shares or numbers of the rows, keeping the rows of a group together.

    Published splits are kept; only a missing one is cut from train. The group is the column(s)
    `spec.group`, else the normalised text of `source_columns`; groups with near-duplicate source
    texts are merged unless `spec.near_duplicates` is false. A row that repeats an earlier row of
    its split in all of `read_columns` (if none are given, in all but id columns) is dropped.

    From 2,000 groups on, sha256(salt|group) as a fraction is compared with the shares, so a row's
    split depends only on its group. This is stable under reordering, and under appending and
    subsetting unless that adds or removes the near-duplicate with the group's smallest key. With
    fewer groups, those of lowest hash fill each split to its exact size (rounded, in rows), which
    is stable under reordering but not appending; likewise with `spec.stratify`, where each label
    is filled to its share. A number of rows is filled by the groups of highest hash, so an added
    group takes the place of one other at most. Raises InputError for a missing column, for labels
    that hardly repeat, for more rows than there are and for a split that leaves nothing to train
    on.
    """
    shares = [share for share in (spec.test, spec.validation) if isinstance(share, float)]
    if sum(shares) >= 1:
        raise InputError(
            f"split: test {spec.test:g} + validation {spec.validation:g} leave nothing to train on."
        )
    columns = _group_columns(spec, source_columns, rows)
    compared = read_columns or _telling(rows)
    groups, contents = _groups(rows, spec, columns, source_columns, compared)
    labels = None if spec.stratify is None else _labels(rows, spec.stratify)
    published = rows.published or {"train": list(range(len(rows)))}
    kept = {name: _firsts(published.get(name, ()), contents) for name in NAMES}
    removed = sum(map(len, published.values())) - sum(map(len, kept.values()))
    if not published.get("train"):
        raise InputError(
            f"{rows.label}: it publishes {' and '.join(published)} but no train split; to cut the "
            "splits from its rows, name one file of it."
        )
    wanted = {
        name: share
        for name, share in (("test", spec.test), ("validation", spec.validation))
        if share > 0 and name not in published
    }
    _check_enough(rows, wanted, len(kept["train"]))
    members: dict[bytes, list[int]] = {}
    for i in kept["train"]:
        members.setdefault(groups.keys[groups.numbers[i]], []).append(i)
    cut = assign(members, wanted, labels)
    final = {name: tuple(sorted(cut.get(name, kept[name]))) for name in NAMES}
    if not final["train"]:
        raise InputError(_nothing_left(rows, len(kept["train"]), len(members), columns, groups))
    return Splits(
        **final,
        spec=spec,
        columns=columns,
        duplicates=removed,
        shared_groups=_shared_groups(final, groups.numbers),
        groups=groups.numbers,
        near_duplicates=groups.joined,
        near=groups.near,
        near_columns=tuple(source_columns),
    )


def _nothing_left(
    rows: Rows, had: int, members: int, columns: Sequence[str], groups: Groups
) -> str:
    """The error for a split that leaves no rows to train on."""
    near = f", {groups.joined} rows joined as near-duplicates (split.near_duplicates: false)"
    alone = "; a group is never divided, so give others or hold out none (split: {test: 0})"
    return (
        f"{rows.label}: the split leaves no rows to train on; {_many(had, 'row')} in "
        f"{_many(members, 'group')} by {', '.join(columns)}{near if groups.joined else ''}"
        f"{alone if members == 1 else ''}."
    )


def _check_enough(rows: Rows, wanted: Mapping[str, float], there: int) -> None:
    """Raise InputError if numbers of rows leave none to train on."""
    counts = {name: count for name, count in wanted.items() if isinstance(count, int)}
    if counts and sum(counts.values()) >= there:
        said = " + ".join(f"{name} {count:,}" for name, count in counts.items())
        raise InputError(
            f"{rows.label}: split: {said} leave nothing to train on; there are "
            f"{_many(there, 'different row')} to hold out from."
        )


def _many(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _telling(rows: Rows) -> tuple[str, ...]:
    """The columns other than ids, or all if there are no others."""
    return tuple(c for c in rows.columns if not is_id(c)) or tuple(rows.columns)


def _group_columns(spec: SplitSpec, source_columns: Sequence[str], rows: Rows) -> tuple[str, ...]:
    if spec.group is None:
        return tuple(source_columns) or _telling(rows)
    return (spec.group,) if isinstance(spec.group, str) else tuple(spec.group)


def _groups(
    rows: Rows,
    spec: SplitSpec,
    columns: Sequence[str],
    source_columns: Sequence[str],
    compared: Sequence[str],
) -> tuple[Groups, list[bytes]]:
    """The groups of the rows, and a digest of each row's content in the columns `compared`."""
    texts = telling_texts(rows, source_columns) if spec.near_duplicates else None
    try:
        named = Normalised(rows, columns)
    except InputError as error:
        where = "" if spec.group is None else "split.group: "
        raise InputError(f"{where}{error}") from None
    held = Normalised(rows, compared)
    keys: list[bytes] = []
    contents: list[bytes] = []
    told = None if texts is None else ComparedTexts(texts, [], [])
    read = dict.fromkeys((*named.columns, *held.columns, *(texts.columns if texts else ())))
    with bar("Comparing rows", len(rows), "rows", _WORTH_A_BAR) as progress:
        for values in rows.some(range(len(rows)), tuple(read)):
            row = {column: normalise(value) for column, value in values.items()}
            key = f"{spec.salt}|{named.joined(row)}".encode("utf-8", "surrogatepass")
            keys.append(hashlib.sha256(key).digest())
            contents.append(digest(held.joined(row)))
            if told is not None:
                told.add(told.texts.joined(row))
            progress.advance()
    return group(keys, named, told), contents


def _labels(rows: Rows, column: str) -> dict[int, str]:
    try:
        labels = dict(enumerate(map(normalise, rows.column(column))))
    except InputError as error:
        raise InputError(f"split.stratify: {error}") from None
    different = len(set(labels.values()))
    if different > max(len(rows) // 2, 2):
        raise InputError(
            f"{rows.label}: split.stratify names the column {column!r}, which has {different} "
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
) -> tuple[dict[str, dict[str, dict[str, int]]], dict[str, int]]:
    """Counts per split for each column that looks like a label: few values, on average repeated.

    And the number of values of each column that only looks so: it repeats texts.
    """
    found, texts = {}, {}
    for column in rows.columns:
        values = None if is_id(column) else _repeated(rows, column)
        if values is None:
            continue
        distinct = set(values)
        if not all(len(value) <= _LONGEST_LABEL and is_label(value) for value in distinct):
            texts[column] = len(distinct)
            continue
        counts = {n: Counter(values[i] for i in part) for n, part in parts.items()}
        found[column] = {name: dict(sorted(count.items())) for name, count in counts.items()}
    return found, texts


def _repeated(rows: Rows, column: str) -> list[str] | None:
    """The values of a column as texts; None if they are too many to be labels, or only one."""
    most = min(_MOST_LABELS, len(rows) // 2)
    seen: dict[str, str] = {}
    values = []
    for row in rows.some(range(len(rows)), (column,)):
        text = "" if row[column] is None else str(row[column])
        values.append(seen.setdefault(text, text))
        if len(seen) > most:
            return None
    return values if len(seen) > 1 else None


def _ids_digest(rows: Rows, part: Sequence[int], advance: Callable[[], None]) -> str:
    ids = []
    for row in rows.some(part):
        ids.append(hashlib.sha256(canonical(row).encode()).digest())
        advance()
    whole = hashlib.sha256()
    for number, one in enumerate(sorted(ids)):
        whole.update(("\n" if number else "").encode() + one.hex().encode())
    return whole.hexdigest()
