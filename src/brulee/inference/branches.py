"""Requests laid out as one stream in which what two of them begin with stands once.

Sorted, a request follows the one before it to where they part, and then has a branch of its own:

    depth        0     1     2     3
    request a    the   quick brown fox      stream   the quick brown fox | owl | slow fox
    request b    the   quick brown owl      depth     0    1     2    3     3     1    2
    request c    the   slow  fox

A token is read after those that stand before it in its own request. Read from left to right, these
are always on a stack: a branch is put at its depth, over what nobody after it needs.

Shapes: `N` tokens of the stream.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Branch:
    """Tokens start to stop of a pass, each after the one before, over `depth` on the stack."""

    start: int
    stop: int
    depth: int

    @property
    def tokens(self) -> int:
        """How many they are."""
        return self.stop - self.start


@dataclass(frozen=True)
class Pass:
    """Tokens `start` to `stop` of a stream, to be read at once."""

    start: int
    stop: int
    branches: tuple[Branch, ...]


@dataclass(frozen=True)
class Stream:
    """The tokens (N) of all requests and their depths (N).

    `paths[i]` is where in the stream the tokens of request i stand, from the first asked for.
    """

    ids: Ints
    depths: Ints
    paths: tuple[Ints, ...]
    order: tuple[int, ...]  # the requests as the stream meets them

    @property
    def deepest(self) -> int:
        """Tokens of the longest request."""
        return int(self.depths.max(initial=-1)) + 1

    def passes(self, start: int, stop: int, tokens: int) -> Iterator[Pass]:
        """Cut from start to stop, every `tokens`."""
        for begin in range(start, stop, tokens):
            end = min(begin + tokens, stop)
            yield Pass(begin, end, self._branches(begin, end))

    def _branches(self, start: int, stop: int) -> tuple[Branch, ...]:
        depths = self.depths[start:stop]
        firsts = [0, *(np.flatnonzero(np.diff(depths) != 1) + 1).tolist(), len(depths)]
        return tuple(Branch(a, b, int(depths[a])) for a, b in itertools.pairwise(firsts))


def lay_out(requests: Sequence[Sequence[int]], firsts: Sequence[int] | None = None) -> Stream:
    """One stream of all requests' token ids; it depends on what they are, not on their order.

    `firsts[i]` is the token of request i from which on its path is kept: all of it, if not given.
    """
    order = sorted(range(len(requests)), key=lambda i: tuple(requests[i]))
    ids: list[Ints] = []
    depths: list[Ints] = []
    paths: list[Ints] = [_ints([])] * len(requests)
    total, before, path = 0, _ints([]), _ints([])
    for i in order:
        request = _ints(requests[i])
        shared = common(before, request)
        own = np.arange(total, total + len(request) - shared)
        path = np.concatenate([path[:shared], own])
        ids.append(request[shared:])
        depths.append(np.arange(shared, len(request)))
        paths[i] = path[firsts[i] :].copy() if firsts else path
        before, total = request, total + len(own)
    return Stream(_joined(ids), _joined(depths), tuple(paths), tuple(order))


def common(a: Ints, b: Ints) -> int:
    """How many tokens two requests have in common at their beginning."""
    length = min(len(a), len(b))
    differ = a[:length] != b[:length]
    return int(differ.argmax()) if differ.any() else length


def _ints(values: Iterable[int]) -> Ints:
    return np.fromiter(values, dtype=np.int64)


def _joined(parts: list[Ints]) -> Ints:
    return np.concatenate(parts) if parts else _ints([])
