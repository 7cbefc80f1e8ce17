"""Groups: rows that must stay in the same split."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from brulee.data.dedup import near_duplicates
from brulee.data.normalised import Normalised, digest
from brulee.data.shingles import SHINGLE
from brulee.data.union_find import UnionFind
from brulee.data.words import has_words


@dataclass(frozen=True)
class ComparedTexts:
    """The texts by which near-duplicates are found: a digest of each, and whether it has words.

    Texts of fewer than five words are not joined: two customers who both say "yes" stay apart.
    """

    texts: Normalised
    digests: list[bytes]
    long: list[bool]

    def add(self, text: str) -> None:
        """Take note of the next of the texts."""
        self.digests.append(digest(text))
        self.long.append(has_words(text, SHINGLE))


@dataclass(frozen=True)
class Groups:
    """The group of every row, numbered in order of appearance.

    `keys` name the groups: the key of which the text is smallest, which depends neither on the
    order of the rows nor on other groups. `joined` counts the rows whose key was joined to that of
    an earlier row. `near` has the first row of each row's cluster of equal and near-duplicate
    texts; None if these were not compared.
    """

    numbers: tuple[int, ...]
    keys: tuple[bytes, ...]
    joined: int
    near: Sequence[int] | None


def group(keys: Sequence[bytes], named: Normalised, told: ComparedTexts | None) -> Groups:
    """Group rows with equal keys and, if `told` is given, rows with near-duplicate texts.

    `keys` are digests of the texts in `named`.
    """
    first_of_key = _firsts(keys)
    roots, near = first_of_key, None
    if told is not None:
        first_of_text = _firsts(told.digests)
        links = _links(told, first_of_text)
        near = array("q", _joined(first_of_text, links))
        same = [(first, i) for i, first in enumerate(first_of_text) if first != i]
        roots = _joined(first_of_key, [*((a, b) for a, b in same if told.long[a]), *links])
    numbers = {root: number for number, root in enumerate(dict.fromkeys(roots))}
    members: dict[int, list[int]] = {}
    for i, first in enumerate(first_of_key):
        if i == first:
            members.setdefault(roots[i], []).append(i)
    names = tuple(keys[_smallest(rows, named)] for rows in members.values())
    moved = sum(keys[root] != key for root, key in zip(roots, keys, strict=True))
    return Groups(tuple(numbers[root] for root in roots), names, moved, near)


def clusters(texts: Normalised) -> Sequence[int]:
    """For each text, the number of the first in its cluster of equal and near-duplicate texts."""
    told = ComparedTexts(texts, [], [])
    for text in texts:
        told.add(text)
    firsts = _firsts(told.digests)
    return _joined(firsts, _links(told, firsts))


def _links(told: ComparedTexts, firsts: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of rows with near-duplicate texts, among the first rows of each text."""
    holders = [i for i, first in enumerate(firsts) if i == first and told.long[i]]
    found = near_duplicates(told.texts.some(holders))
    return [(holders[i], holders[j]) for i, j, _ in found]


def _joined(firsts: Sequence[int], links: Sequence[tuple[int, int]]) -> list[int]:
    joined = UnionFind(len(firsts), firsts)
    for i, j in links:
        joined.join(i, j)
    found: list[int] = joined.roots().tolist()
    return found


def _smallest(rows: Sequence[int], named: Normalised) -> int:
    """Of rows with different keys, the one whose key is smallest as text."""
    if len(rows) == 1:
        return rows[0]
    return min(zip(named.some(rows), rows, strict=True))[1]


def _firsts(values: Sequence[Hashable]) -> list[int]:
    """For each value, the number of the first that equals it."""
    first: dict[Hashable, int] = {}
    return [first.setdefault(value, i) for i, value in enumerate(values)]
