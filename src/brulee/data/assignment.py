"""Which split each group of rows goes to."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

# With fewer groups than this, shares of a hash would miss the asked sizes by too much.
_EXACT_BELOW = 2_000
Histogram = dict[str, int]


def assign(
    groups: Mapping[str, Sequence[int]],
    shares: Mapping[str, float],
    salt: str,
    labels: Mapping[int, str] | None = None,
) -> dict[str, list[int]]:
    """The rows of "train" and of each split in `shares`, where `groups` are key -> rows.

    From 2,000 groups on, sha256(salt|key) as a fraction is compared with the shares, so that a
    group's side depends on nothing but its key. With fewer, or with the `labels` of rows, groups in
    order of that hash are taken up to exact sizes; each label up to its share of them.
    """
    hashes = {key: _fraction(salt, key) for key in groups}
    if labels is None and len(groups) >= _EXACT_BELOW:
        sides = _by_share(hashes, shares)
    else:
        counts = {
            key: Counter(labels[i] if labels else "" for i in groups[key])
            for key in sorted(groups, key=lambda key: (hashes[key], key))
        }
        sides = _by_rank(counts, shares)
    assigned: dict[str, list[int]] = {"train": [], **{name: [] for name in shares}}
    for key, members in groups.items():
        assigned[sides.get(key, "train")].extend(members)
    return assigned


def _fraction(salt: str, key: str) -> float:
    digest = hashlib.sha256(f"{salt}|{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _by_share(hashes: Mapping[str, float], shares: Mapping[str, float]) -> dict[str, str]:
    sides: dict[str, str] = {}
    low = 0.0
    for name, share in shares.items():
        sides |= {key: name for key, value in hashes.items() if low <= value < low + share}
        low += share
    return sides


def _by_rank(counts: Mapping[str, Counter[str]], shares: Mapping[str, float]) -> dict[str, str]:
    """Groups, given in order of their hash, up to each split's quota of every label."""
    total = sum(counts.values(), Counter[str]())
    sides: dict[str, str] = {}
    for name, share in shares.items():
        left = {key: count for key, count in counts.items() if key not in sides}
        sides |= dict.fromkeys(_take(left, _quota(total, share)), name)
    return sides


def _quota(total: Counter[str], share: float) -> Histogram:
    """Rows wanted of each label: its share, rounded such that the sum is exact."""
    wanted = max(1, round(share * total.total()))
    quota = {label: int(share * count) for label, count in sorted(total.items())}
    by_remainder = sorted(quota, key=lambda label: quota[label] - share * total[label])
    for label in by_remainder[: wanted - sum(quota.values())]:
        quota[label] += 1
    return quota


def _take(left: Mapping[str, Counter[str]], quota: Histogram) -> list[str]:
    """First the groups that fit into the quota, then those that bring the counts nearer to it."""
    lacking = Counter(quota)
    taken: dict[str, None] = {}
    for fits in (_fits, _improves):
        for key, count in left.items():
            if key not in taken and fits(count, lacking):
                taken[key] = None
                lacking.subtract(count)
    return list(taken) or sorted(left, key=lambda key: left[key].total())[:1]


def _fits(count: Counter[str], lacking: Counter[str]) -> bool:
    return all(rows <= lacking[label] for label, rows in count.items())


def _improves(count: Counter[str], lacking: Counter[str]) -> bool:
    change = sum(abs(lacking[label] - rows) - abs(lacking[label]) for label, rows in count.items())
    return change < 0
