"""Maps draw i of a mixture to its part and to the number of that part's earlier draws."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PERIOD = 1_000_000
# The least mean number of slots per part: the period grows with the parts, as fewer slots would
# round shares too coarsely.
_LEAST_MEAN_SLOTS = 64


class Schedule:
    """A repeating period of slots, in which part p has `slots[p]` of `period` slots.

    Choosing the part of draw i at random would add sampling error to the shares, and counting a
    part's earlier draws would take O(i). Instead, the k-th of a part's s slots is at a random time
    in [k/s, (k+1)/s) of the period (stratified sampling), so

    * a whole period has exactly `slots`, and any part of it at most about one draw per part more
      or less than its share;
    * the number of earlier draws is cycles x slots + a rank stored with the slot: O(1), and a
      part's draws are numbered 0, 1, 2 ... without gaps.

    Memory is 8 bytes per slot. Slots are the shares rounded to 1/period (largest remainder), but a
    share of less than one slot gets one. A period of a million represents shares of up to six
    decimals exactly.
    """

    def __init__(self, shares: Sequence[float], seed: int, period: int = PERIOD) -> None:
        self.period = max(period, _LEAST_MEAN_SLOTS * len(shares))
        slots_P = apportion(shares, self.period)
        part_S = np.repeat(np.arange(len(shares), dtype=np.int32), slots_P)
        first_P = (np.cumsum(slots_P) - slots_P).astype(np.int32)
        rank_S = np.arange(self.period, dtype=np.int32) - first_P[part_S]
        moment_S = (rank_S + _uniform(self.period, seed)) / slots_P[part_S]
        # Stable, so that two equal moments of a part keep the order of their ranks.
        order_S = np.argsort(moment_S, kind="stable")
        self._part_S, self._rank_S = part_S[order_S], rank_S[order_S]
        self.slots: list[int] = slots_P.tolist()

    def at(self, i: int) -> tuple[int, int]:
        """The part of draw i, and the number of that part's earlier draws."""
        cycle, slot = divmod(i, self.period)
        part = self._part_S.item(slot)
        return part, cycle * self.slots[part] + self._rank_S.item(slot)

    def counts(self, draws: int) -> list[int]:
        """The number of each part's draws among the first `draws`."""
        cycles, rest = divmod(draws, self.period)
        begun = np.bincount(self._part_S[:rest], minlength=len(self.slots)).tolist()
        return [cycles * slots + more for slots, more in zip(self.slots, begun, strict=True)]


class Succession:
    """Parts of given sizes, of which each is drawn whole before the next one, over and over."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes
        self._ends: list[int] = np.cumsum(sizes).tolist()

    def at(self, i: int) -> tuple[int, int]:
        """The part of draw i, and the number of that part's earlier draws."""
        epoch, place = divmod(i, self._ends[-1])
        part = bisect_right(self._ends, place)
        size = self._sizes[part]
        return part, epoch * size + place - (self._ends[part] - size)

    def counts(self, draws: int) -> list[int]:
        """The number of each part's draws among the first `draws`."""
        epochs, rest = divmod(draws, self._ends[-1])
        begun = (
            min(max(rest - end + size, 0), size)
            for size, end in zip(self._sizes, self._ends, strict=True)
        )
        return [epochs * size + more for size, more in zip(self._sizes, begun, strict=True)]


def apportion(shares: Sequence[float], seats: int) -> NDArray[np.int64]:
    """Apportion `seats` by largest remainder, with at least one for every share.

    The shares must be positive and sum to 1, and there must not be more of them than seats.
    """
    share_P = np.asarray(shares, dtype=np.float64)
    tiny_P = np.zeros(len(share_P), dtype=bool)
    while True:
        exact_P = share_P / share_P[~tiny_P].sum() * (seats - tiny_P.sum())
        new_P = ~tiny_P & (exact_P < 1)
        if not new_P.any():
            break
        tiny_P |= new_P
    slots_P = np.where(tiny_P, 1, np.floor(exact_P)).astype(np.int64)
    remainder_P = np.where(tiny_P, -1.0, exact_P - slots_P)
    slots_P[np.argsort(-remainder_P, kind="stable")[: seats - slots_P.sum()]] += 1
    return slots_P


def _uniform(count: int, seed: int) -> NDArray[np.float64]:
    # Raw words: NumPy guarantees a stable stream for these, but not for Generator.random.
    digest = hashlib.blake2b(f"schedule {seed}".encode(), digest_size=16).digest()
    words = np.random.PCG64(int.from_bytes(digest)).random_raw(count)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
