"""Who is next of those that wait: the one of whom least was computed lately.

    a    o o o o o o o      a has had 900 tokens: its next waits
    b    o                  b comes, and is taken to have had as few as the last that was taken

Tokens are counted as they are read and written, so that neither many requests nor long ones take
more than a share while others wait; who has asked for nothing meanwhile has saved up nothing
(the virtual token counter of Sheng et al. 2024, "Fairness in Serving Large Language Models").
Of one asker, and of those who have had the same, the first that came is the first.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

T = TypeVar("T")
# Tokens that are read while one is written: 6 beside seven others on a CPU, more beside fewer.
WRITTEN: Final = 8
_REMEMBERED: Final = 1024  # askers whose tokens are remembered though they do not wait


class FairQueue(Generic[T]):
    """What waits, of several askers."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[tuple[int, T]]] = {}
        self._had: dict[Hashable, int] = {}
        self._least = 0  # what the last that was taken had had: nobody who waits has had less
        self._numbers = itertools.count()

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    def add(self, who: Hashable, one: T) -> None:
        """Have one more wait."""
        if who not in self._waiting:
            self._had[who] = max(self._had.get(who, 0), self._least)
        self._waiting.setdefault(who, deque()).append((next(self._numbers), one))

    def first(self) -> T:
        """The next, which stays. Something has to wait."""
        return self._waiting[self._next()][0][1]

    def take(self) -> T:
        """The next. Something has to wait."""
        who = self._next()
        self._least = self._had[who]
        _, one = self._waiting[who].popleft()
        self._tidy()
        return one

    def least(self, size: Callable[[T], int]) -> T:
        """The smallest of all, whoever is next; it stays. Something has to wait."""
        found = [pair for own in self._waiting.values() for pair in own]
        return min(found, key=lambda pair: (size(pair[1]), pair[0]))[1]

    def remove(self, wanted: T) -> None:
        """Take one out of its turn: who waits may have had less than its asker."""
        self.keep(lambda one: one is not wanted)

    def count(self, who: Hashable, tokens: int) -> None:
        """An asker has had so many more."""
        self._had[who] = self._had.get(who, self._least) + tokens
        if len(self._had) - len(self._waiting) > _REMEMBERED:
            self._tidy()

    def keep(self, wanted: Callable[[T], bool]) -> None:
        """Forget what is not wanted any more."""
        for who, own in self._waiting.items():
            if not all(wanted(one) for _, one in own):
                self._waiting[who] = deque(pair for pair in own if wanted(pair[1]))
        self._tidy()

    def _next(self) -> Hashable:
        return min(self._waiting, key=lambda who: (self._had[who], self._waiting[who][0][0]))

    def _tidy(self) -> None:
        """Forget askers who do not wait and would be taken to have had as many if they came."""
        self._waiting = {who: own for who, own in self._waiting.items() if own}
        gone = [who for who in self._had if who not in self._waiting]
        over = len(gone) - _REMEMBERED
        for place, who in enumerate(sorted(gone, key=self._had.__getitem__)):
            if self._had[who] <= self._least or place < over:
                del self._had[who]
