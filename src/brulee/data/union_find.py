"""Union-find: which of many things were joined, directly or through others."""

from __future__ import annotations

import numpy as np


class UnionFind:
    """The numbers 0 to count-1, each at first in a set of its own."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count)

    def join(self, left: int, right: int) -> bool:
        """Make two sets one; False where they already were."""
        low, high = sorted((self._root(left), self._root(right)))
        self._parent[high] = low
        return low != high

    def roots(self) -> np.ndarray:
        """(count,) the smallest member of the set that each number is in."""
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
