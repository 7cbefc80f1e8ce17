"""Requests laid out as one stream, in which a common prefix appears once.

Sorted, a request shares the one before it up to where they differ, and then has its own branch:

    depth        0     1     2     3
    request a    the   quick brown fox      stream   the quick brown fox | owl | slow fox
    request b    the   quick brown owl      depth     0    1     2    3     3     1    2
    request c    the   slow  fox

A token attends to those before it in its own request. Reading from left to right, these are always
on a stack: a branch is put at its depth and overwrites what no later branch needs.

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
    """Consecutive tokens `start` to `stop` of a pass, on top of `depth` tokens on the stack."""

    start: int
    stop: int
    depth: int

    @property
    def tokens(self) -> int:
        """Number of tokens."""
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

    `paths[i]` gives the stream indices of request i's tokens, from the first one requested.
    """

    ids: Ints
    depths: Ints
    paths: tuple[Ints, ...]
    order: tuple[int, ...]  # the requests in stream order

    @property
    def deepest(self) -> int:
        """Number of tokens of the longest request."""
        return int(self.depths.max(initial=-1)) + 1

    def passes(self, start: int, stop: int, tokens: int) -> Iterator[Pass]:
        """Passes of `tokens` tokens each, from start to stop."""
        for begin in range(start, stop, tokens):
            end = min(begin + tokens, stop)
            yield Pass(begin, end, self._branches(begin, end))

    def _branches(self, start: int, stop: int) -> tuple[Branch, ...]:
        depths = self.depths[start:stop]
        firsts = [0, *(np.flatnonzero(np.diff(depths) != 1) + 1).tolist(), len(depths)]
        return tuple(Branch(a, b, int(depths[a])) for a, b in itertools.pairwise(firsts))


def lay_out(requests: Sequence[Sequence[int]], firsts: Sequence[int] | None = None) -> Stream:
    """One stream of all requests' token ids, independent of the order of requests.

    `firsts[i]` is the token of request i at which its path begins; by default, its first.
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
    """Length of the common prefix of two requests."""
    length = min(len(a), len(b))
    differ = a[:length] != b[:length]
    return int(differ.argmax()) if differ.any() else length


def _ints(values: Iterable[int]) -> Ints:
    return np.fromiter(values, dtype=np.int64)


def _joined(parts: list[Ints]) -> Ints:
    return np.concatenate(parts) if parts else _ints([])
