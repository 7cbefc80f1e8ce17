"""The tree of tasks that a mixture draws from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from brulee.data.rates import Rates, shares
from brulee.errors import InputError


@dataclass(frozen=True, slots=True)
class Part:
    """One task of a mixture: its rows, its number of templates, its weight if any.

    `row_cap` limits the rows in use to a pseudo-random subset, which depends only on the path and
    the number of rows and contains the subset of every smaller cap. `Rates.rate_cap` limits the
    rate instead.
    """

    name: str
    rows: Sequence[int]
    templates: int
    weight: float | None = None
    row_cap: int | None = None

    def __len__(self) -> int:
        """The number of rows in use."""
        return len(self.rows) if self.row_cap is None else min(len(self.rows), self.row_cap)


@dataclass(frozen=True, slots=True)
class Group:
    """Parts and groups that divide the group's share; its rows are those of all members."""

    name: str
    members: Sequence[Part | Group]
    rates: Rates = field(default_factory=Rates)
    weight: float | None = None

    def __len__(self) -> int:
        """The number of rows in use."""
        return sum(map(len, self.members))


def leaves(group: Group) -> Iterator[tuple[str, Part, float]]:
    """The path ("flan/rte"), part and share of all draws for every part in `group`.

    Shares of nested groups multiply. Raises InputError for a group without members, a name that is
    repeated or contains a slash, a part without rows or templates, and rates that `Rates` rejects.
    """
    _check_group(group, group.name)
    yield from _leaves(group, group.name, "", 1.0)


def _leaves(
    group: Group, where: str, prefix: str, share: float
) -> Iterator[tuple[str, Part, float]]:
    rows = {member.name: len(member) for member in group.members}
    rates = group.rates.of(where, rows, {m.name: m.weight for m in group.members})
    for member, part_of in zip(group.members, shares(rates), strict=True):
        path = prefix + member.name
        if isinstance(member, Group):
            yield from _leaves(member, f"{where}/{member.name}", f"{path}/", share * part_of)
        else:
            yield path, member, share * part_of


def _check_group(group: Group, where: str) -> None:
    if not group.members:
        raise InputError(f"{where}: has no members; a mixture needs at least one.")
    for name, times in Counter(member.name for member in group.members).items():
        if times > 1:
            raise InputError(f"{where}: {name!r} comes twice; give every member its own name.")
        if not name or "/" in name:
            raise InputError(f"{where}: {name!r} is not a name; a name is text without a slash.")
    for member in group.members:
        if isinstance(member, Group):
            _check_group(member, f"{where}/{member.name}")
        else:
            _check_part(f"{where}: {member.name!r}", member)


def _check_part(where: str, part: Part) -> None:
    if len(part.rows) < 1 or part.templates < 1:
        raise InputError(
            f"{where} has {len(part.rows)} rows and {part.templates} templates;"
            " it needs at least one of each."
        )
    if part.row_cap is not None and part.row_cap < 1:
        raise InputError(f"{where} has the row_cap {part.row_cap}; give 1 or more rows.")
