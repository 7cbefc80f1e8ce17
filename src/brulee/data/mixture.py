"""Sample i as a pure function of (seed, mixture, i), so a checkpoint stores one integer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose
from typing import NamedTuple

from brulee.data.parts import Group, Part, leaves
from brulee.data.permutation import Permutation, key_of, mixed
from brulee.data.schedule import PERIOD, Schedule, Succession


class Draw(NamedTuple):
    """The part a draw belongs to ("flan/rte"), its epoch over that part, the row, the template."""

    part: str
    epoch: int
    row: int
    template: int


@dataclass(frozen=True, slots=True)
class PartReport:
    """What a number of draws means for one part.

    `rows` of `of_rows` rows are in use; `share` is the part's stated share of all draws and
    `realised` its actual share of these draws; `token_share` is None if the mean number of tokens
    was not given.
    """

    part: str
    rows: int
    of_rows: int
    share: float
    draws: int
    realised: float
    epochs: float
    token_share: float | None


class Mixture:
    """Draws from one or more parts at given rates, reshuffling each part's rows every epoch.

    A `Schedule` maps draw i to a part and to k, its index among that part's draws; k determines the
    epoch and the position in the epoch's permutation. So no row repeats before all rows of its part
    were drawn, a draw is a pure function of (seed, mixture, i) in constant time, and resuming needs
    one integer. The order of a part depends only on its path, its number of rows and the seed.
    `shares` are the stated shares, by path. Raises InputError like `parts.leaves`.

    Without `shuffle`, every epoch has a part's rows in their given order. Parts that are drawn as
    often as they have rows then follow one another; others take turns at their rates.
    """

    def __init__(self, root: Group, seed: int, period: int = PERIOD, shuffle: bool = True) -> None:
        found = list(leaves(root))
        self.parts = {path: part for path, part, _ in found}
        self.shares = {path: share for path, _, share in found}
        # A lone part has every slot of any period.
        period = period if len(found) > 1 else 1
        shares = [share for _, _, share in found]
        sizes = [len(part) for _, part, _ in found]
        rows = sum(sizes)
        whole = all(isclose(share * rows, size) for share, size in zip(shares, sizes, strict=True))
        self._schedule: Schedule | Succession = (
            Schedule(shares, seed, period) if shuffle or not whole else Succession(sizes)
        )
        self._orders = [_Order(path, part, seed, shuffle) for path, part, _ in found]

    def __len__(self) -> int:
        """The number of rows in use, which counts as one epoch whichever parts the draws hit."""
        return sum(map(len, self.parts.values()))

    def sample(self, i: int) -> Draw:
        """Draw i, from 0; there is no upper limit."""
        if i < 0:
            raise IndexError(f"samples are counted from 0, not {i}")
        part, k = self._schedule.at(i)
        return self._orders[part].draw(k)

    def describe(self, samples: int, tokens: Mapping[str, float] | None = None) -> list[PartReport]:
        """The composition of the first `samples` draws by part, computed without drawing.

        `tokens` is each part's mean number of tokens per sample. Raises ValueError if `samples` is
        less than 1.
        """
        if samples < 1:
            raise ValueError(f"a description needs at least one sample, not {samples}")
        counts = dict(zip(self.parts, self._schedule.counts(samples), strict=True))
        weighed = {path: counts[path] * tokens[path] for path in counts} if tokens else {}
        total = sum(weighed.values())
        return [
            PartReport(
                path,
                len(part),
                len(part.rows),
                self.shares[path],
                counts[path],
                counts[path] / samples,
                counts[path] / len(part),
                weighed[path] / total if weighed else None,
            )
            for path, part in self.parts.items()
        ]


class _Order:
    """The draws of one part, counted from 0."""

    __slots__ = ("_choice", "_epoch_order", "_given", "_part", "_path", "_secret")

    def __init__(self, path: str, part: Part, seed: int, shuffle: bool) -> None:
        self._path, self._part = path, part
        self._secret = _hash(seed, "part", path)
        self._epoch_order = Permutation(len(part))
        self._choice = None
        if len(part) < len(part.rows):
            self._choice = (Permutation(len(part.rows)), _hash("rows", path))
        # A split has the rows of a group together; a row's number is its place in the source.
        used = (part.rows[self._chosen(place)] for place in range(len(part)))
        self._given = None if shuffle else sorted(used)

    def draw(self, k: int) -> Draw:
        epoch, position = divmod(k, self._epoch_order.size)
        key = key_of(self._secret, epoch)
        if self._given is None:
            place = self._chosen(self._epoch_order.at(position, key))
            row = self._part.rows[place]
        else:
            place, row = position, self._given[position]
        template = mixed(key ^ place) % self._part.templates
        return Draw(self._path, epoch, row, template)

    def _chosen(self, place: int) -> int:
        """The place among all rows of one among those in use."""
        if self._choice is None:
            return place
        permutation, key = self._choice
        return permutation.at(place, key)


def _hash(*parts: object) -> int:
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
