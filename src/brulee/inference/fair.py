"""Fair queueing: next is the waiting client that has received the least computation.

    a    o o o o o o o      a has received 900 tokens: its next request waits
    b    o                  b arrives, and starts with the count of the client served last

Tokens are counted as they are read and generated, so that neither many nor long requests get more
than a fair share while others wait; idle clients save up no credit (the virtual token counter of
Sheng et al. 2024, "Fairness in Serving Large Language Models"). Requests of one client, and of
clients with equal counts, are served in order of arrival.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

T = TypeVar("T")
# Tokens read in the time of generating one: 6 in a batch of 8 on a CPU, more in smaller batches.
WRITTEN: Final = 8
_REMEMBERED: Final = 1024  # clients whose counts are remembered while they do not wait


class FairQueue(Generic[T]):
    """A queue of items of several clients."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[tuple[int, T]]] = {}
        self._had: dict[Hashable, int] = {}
        self._least = 0  # count of the client served last; no waiting client has a lower one
        self._numbers = itertools.count()

    def __len__(self) -> int:
        """Number of waiting items."""
        return sum(map(len, self._waiting.values()))

    def add(self, who: Hashable, one: T) -> None:
        """Add an item of client `who`."""
        if who not in self._waiting:
            self._had[who] = max(self._had.get(who, 0), self._least)
        self._waiting.setdefault(who, deque()).append((next(self._numbers), one))

    def first(self) -> T:
        """The next item, without removing it. The queue must not be empty."""
        return self._waiting[self._next()][0][1]

    def take(self) -> T:
        """Remove and return the next item. The queue must not be empty."""
        who = self._next()
        self._least = self._had[who]
        _, one = self._waiting[who].popleft()
        self._tidy()
        return one

    def least(self, size: Callable[[T], int]) -> T:
        """The smallest item of all clients, without removing it. The queue must not be empty."""
        found = [pair for own in self._waiting.values() for pair in own]
        return min(found, key=lambda pair: (size(pair[1]), pair[0]))[1]

    def remove(self, wanted: T) -> None:
        """Remove an item out of turn, leaving `_least`: others may be below its client's count."""
        self.keep(lambda one: one is not wanted)

    def count(self, who: Hashable, tokens: int) -> None:
        """Add tokens to a client's count."""
        self._had[who] = self._had.get(who, self._least) + tokens
        if len(self._had) - len(self._waiting) > _REMEMBERED:
            self._tidy()

    def keep(self, wanted: Callable[[T], bool]) -> None:
        """Remove the items that are not wanted."""
        for who, own in self._waiting.items():
            if not all(wanted(one) for _, one in own):
                self._waiting[who] = deque(pair for pair in own if wanted(pair[1]))
        self._tidy()

    def _next(self) -> Hashable:
        return min(self._waiting, key=lambda who: (self._had[who], self._waiting[who][0][0]))

    def _tidy(self) -> None:
        """Forget clients that do not wait and whose count a new arrival would get anyway."""
        self._waiting = {who: own for who, own in self._waiting.items() if own}
        gone = [who for who in self._had if who not in self._waiting]
        over = len(gone) - _REMEMBERED
        for place, who in enumerate(sorted(gone, key=self._had.__getitem__)):
            if self._had[who] <= self._least or place < over:
                del self._had[who]
