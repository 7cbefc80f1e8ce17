"""Groups: rows that must stay in the same split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from brulee.data.dedup import near_duplicates
from brulee.data.shingles import SHINGLE
from brulee.data.union_find import UnionFind
from brulee.data.words import has_words


@dataclass(frozen=True)
class Groups:
    """The group of every row, numbered in order of appearance.

    `keys` name the groups: the smallest key in each, which depends neither on the order of the rows
    nor on other groups. `joined` counts the rows whose key was joined to that of an earlier row.
    """

    numbers: tuple[int, ...]
    keys: tuple[str, ...]
    joined: int


def group(keys: Sequence[str], texts: Sequence[str] | None) -> Groups:
    """Group rows with equal keys and, if `texts` are given, rows with near-duplicate texts.

    Texts of fewer than five words are not joined: two customers who both say "yes" stay apart.
    """
    first_of_key = _first(keys)
    roots = [first_of_key[key] for key in keys]
    if texts is not None:
        joined = UnionFind(len(keys))
        for i, first in enumerate(roots):
            joined.join(first, i)
        told = [(i, text) for i, text in enumerate(texts) if has_words(text, SHINGLE)]
        first_of_text: dict[str, int] = {}
        for i, text in told:
            joined.join(first_of_text.setdefault(text, i), i)
        holders = list(first_of_text.values())
        for i, j, _ in near_duplicates(list(first_of_text)):
            joined.join(holders[i], holders[j])
        roots = joined.roots().tolist()
    numbers = {root: number for number, root in enumerate(dict.fromkeys(roots))}
    names: dict[int, str] = {}
    for key, root in zip(keys, roots, strict=True):
        names[root] = min(key, names.get(root, key))
    moved = sum(keys[root] != key for root, key in zip(roots, keys, strict=True))
    return Groups(tuple(numbers[root] for root in roots), tuple(names.values()), moved)


def _first(values: Sequence[str]) -> dict[str, int]:
    first: dict[str, int] = {}
    for i, value in enumerate(values):
        first.setdefault(value, i)
    return first
