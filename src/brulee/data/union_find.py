"""Union-find: disjoint sets of numbers under joins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class UnionFind:
    """Disjoint sets of the numbers 0 to count-1, initially one set each.

    Or `firsts` says of each number which smaller one, or itself, its set begins with.
    """

    def __init__(self, count: int, firsts: Sequence[int] | None = None) -> None:
        self._parent = np.arange(count) if firsts is None else np.array(firsts, dtype=np.int64)

    def join(self, left: int, right: int) -> bool:
        """Join the sets of two numbers; False if they were already in one set."""
        low, high = sorted((self._root(left), self._root(right)))
        self._parent[high] = low
        return low != high

    def roots(self) -> np.ndarray:
        """(count,) The smallest member of each number's set."""
        while True:
            above: np.ndarray = self._parent[self._parent]
            if np.array_equal(above, self._parent):
                return above
            self._parent = above

    def _root(self, number: int) -> int:
        while (above := int(self._parent[number])) != number:
            self._parent[number] = self._parent[above]
            number = above
        return number
