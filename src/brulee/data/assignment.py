"""Assigns each group of rows to a split."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

# With fewer groups than this, thresholds on a hash would miss the requested sizes by too much.
_EXACT_BELOW = 2_000
_MOST_SWAPS = 1_000_000

# The number of rows with each label; the label None counts all rows.
Counts = Counter[str | None]
Kind = frozenset[tuple[str | None, int]]
_ROWS = None
_NOTHING: Kind = frozenset()


def assign(
    groups: Mapping[bytes, Sequence[int]],
    shares: Mapping[str, float],
    labels: Mapping[int, str] | None = None,
) -> dict[str, list[int]]:
    """The rows of "train" and of each split in `shares`; `groups` maps keys to rows.

    A key is a hash. From 2,000 groups on, its first eight bytes as a fraction are compared with the
    shares, so a group's split depends only on its key; of a split whose share is an integer, that
    many rows are taken from the other end. With fewer groups, or with `labels` of rows, groups in
    the order of that hash fill each split to its exact size, and each label to its share of it.
    """
    hashes = {key: int.from_bytes(key[:8]) / 2**64 for key in groups}
    if labels is None and len(groups) >= _EXACT_BELOW:
        sides = _by_share(hashes, {n: s for n, s in shares.items() if not isinstance(s, int)})
        for name, count in shares.items():
            if isinstance(count, int):
                left = {key: groups[key] for key in groups if key not in sides}
                ordered = sorted(left, key=lambda key: (hashes[key], key), reverse=True)
                sizes = {key: len(left[key]) for key in ordered}
                sides |= dict.fromkeys(_closest(sizes, count), name)
    else:
        ordered = sorted(groups, key=lambda key: (hashes[key], key))
        counts = {key: _count(groups[key], labels) for key in ordered}
        sides = _by_rank(counts, shares)
    assigned: dict[str, list[int]] = {"train": [], **{name: [] for name in shares}}
    for key, members in groups.items():
        assigned[sides.get(key, "train")].extend(members)
    return assigned


def _by_share(hashes: Mapping[bytes, float], shares: Mapping[str, float]) -> dict[bytes, str]:
    sides: dict[bytes, str] = {}
    low = 0.0
    for name, share in shares.items():
        sides |= {key: name for key, value in hashes.items() if low <= value < low + share}
        low += share
    return sides


def _closest(sizes: Mapping[bytes, int], count: int) -> list[bytes]:
    """Groups with about `count` rows together: each that fits, then one that brings it closer."""
    taken: list[bytes] = []
    for key, size in sizes.items():
        if size <= count:
            taken.append(key)
            count -= size
        if not count:
            return taken
    inside = set(taken)
    closer = (key for key, size in sizes.items() if size < 2 * count and key not in inside)
    taken += itertools.islice(closer, 1)
    return taken or [min(sizes, key=lambda key: sizes[key])]


def _count(rows: Sequence[int], labels: Mapping[int, str] | None) -> Counts:
    """The number of rows with each label, and of all rows."""
    count = _rows(len(rows))
    if labels is not None:
        count.update(labels[i] for i in rows)
    return count


def _rows(count: int) -> Counts:
    return Counter({_ROWS: count})


def _by_rank(counts: Mapping[bytes, Counts], shares: Mapping[str, float]) -> dict[bytes, str]:
    """Fill each split to its quotas of rows and of each label, with groups in order of hash."""
    total = Counter[str | None]()
    for count in counts.values():
        total.update(count)
    sides: dict[bytes, str] = {}
    for name, share in shares.items():
        left = {key: count for key, count in counts.items() if key not in sides}
        sides |= dict.fromkeys(_take(left, _quota(total, share)), name)
    return sides


def _quota(total: Counts, share: float) -> Counts:
    """The wanted number of rows, and each label's share of it, rounded so that the sum is exact."""
    if isinstance(share, int):
        wanted, share = share, share / total[_ROWS]
    else:
        wanted = max(1, round(share * total[_ROWS]))
    labels = sorted(label for label in total if label is not None)
    quota = Counter({label: int(share * total[label]) for label in labels})
    by_remainder = sorted(labels, key=lambda label: quota[label] - share * total[label])
    for label in by_remainder[: wanted - quota.total()]:
        quota[label] += 1
    return quota + _rows(wanted)


def _take(left: Mapping[bytes, Counts], quota: Counts) -> list[bytes]:
    """Take the groups that fit into the quota, then those that bring the counts closer to it."""
    lacking = Counter(quota)
    taken: dict[bytes, Counts] = {}
    for suits in (_fits, _improves):
        for key, count in left.items():
            if key not in taken and suits(count, lacking):
                taken[key] = count
                lacking.subtract(count)
    rest = {key: count for key, count in left.items() if key not in taken}
    _exchange(taken, rest, lacking)
    return list(taken) or sorted(left, key=lambda key: left[key][_ROWS])[:1]


def _fits(count: Counts, lacking: Counts) -> bool:
    return all(rows <= lacking[label] for label, rows in count.items())


def _improves(count: Counts, lacking: Counts) -> bool:
    return sum(abs(lacking[x] - rows) - abs(lacking[x]) for x, rows in count.items()) < 0


def _exchange(taken: dict[bytes, Counts], rest: dict[bytes, Counts], lacking: Counts) -> None:
    """Swap a group for another, or drop or add one, while that brings the counts closer."""
    while any(lacking.values()):
        # Of groups with equal counts, the last one taken is dropped and the first one left added.
        inside = {_NOTHING: b""} | {frozenset(c.items()): key for key, c in taken.items()}
        outside = {_NOTHING: b""} | {frozenset(rest[key].items()): key for key in reversed(rest)}
        if len(inside) * len(outside) > _MOST_SWAPS:
            return
        goes, comes, better = _best_swap(list(inside), list(outside), lacking)
        if not better:
            return
        if dropped := inside[goes]:
            lacking.update(taken[dropped])
            rest[dropped] = taken.pop(dropped)
        if added := outside[comes]:
            lacking.subtract(rest[added])
            taken[added] = rest.pop(added)


def _best_swap(inside: list[Kind], outside: list[Kind], lacking: Counts) -> tuple[Kind, Kind, bool]:
    """The kind of group to drop, the kind to take, and whether that is an improvement."""
    labels = sorted({x for kind in (*inside, *outside, lacking.items()) for x, _ in kind}, key=str)
    lacking_L = np.array([lacking[x] for x in labels])
    inside_GL, outside_GL = _matrix(inside, labels), _matrix(outside, labels)
    distances = np.stack([np.abs(lacking_L + goes_L - outside_GL).sum(1) for goes_L in inside_GL])
    i, j = divmod(int(distances.argmin()), len(outside))
    return inside[i], outside[j], bool(distances[i, j] < np.abs(lacking_L).sum())


def _matrix(kinds: list[Kind], labels: list[str | None]) -> np.ndarray:
    return np.array([[count.get(x, 0) for x in labels] for count in map(dict, kinds)])
