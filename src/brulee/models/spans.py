"""Which rows of a pack read which others.

Documents that begin alike can share their beginning: it is computed once, at the pack's front, and
every document's own part reads it as if it stood before that part alone.

    row          |- shared -|-- a --|- b -|---- c ----|
    reads         itself     shared, a      shared, c

The queries of a span are the last ones of its keys, so that one causal mask ends at the last of
both; in a model's last layer only a document's last rows ask, from the first that is learned from.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """The rows of the queries among the queries, and of their own keys among the keys.

    Before its own keys a span reads the first `shared` rows.
    """

    queries: slice
    keys: slice
    shared: int

    @property
    def asked(self) -> int:
        """How many queries."""
        return int(self.queries.stop - self.queries.start)

    @property
    def read(self) -> int:
        """How many keys, with the shared ones."""
        return int(self.shared + self.keys.stop - self.keys.start)


def spans_of(segments: Sequence[int], shared: int) -> list[Span]:
    """Every row asks; with `shared`, the first segment is what the others have in common."""
    return asking(segments, shared, segments)


def asking(segments: Sequence[int], shared: int, asked: Sequence[int]) -> list[Span]:
    """The last `asked` rows of each segment ask; segments of which none does are left out."""
    found: list[Span] = []
    query = key = 0
    for at, (length, asks) in enumerate(zip(segments, asked, strict=True)):
        before = shared if at else 0
        if asks:
            found.append(Span(slice(query, query + asks), slice(key, key + length), before))
        query, key = query + asks, key + length
    return found


def after_prefix(spans: Sequence[Span], count: int) -> list[Span]:
    """The same reading where every span reads `count` keys that stand before the pack's own."""
    return [
        Span(s.queries, slice(s.keys.start + count, s.keys.stop + count), s.shared + count)
        for s in spans
    ]


def cut(spans: Sequence[Span], rows: int) -> list[Span]:
    """The same reading in spans of about `rows` queries, none of which reads keys after its last.

    What a whole span's first queries would compute of later keys only to mask it is left out.
    """
    return [piece for span in spans for piece in _pieces(span, rows)]


def near(spans: Sequence[Span], window: int) -> list[Span]:
    """The same reading by queries that see `window` keys, without those that a span's see none of.

    Shared rows are left out all together or not at all.
    """
    return [_near(span, window) for span in spans]


def _near(span: Span, window: int) -> Span:
    unseen = span.read - span.asked - window + 1
    if unseen <= 0 or unseen < span.shared:
        return span
    start = span.keys.start + unseen - span.shared
    return Span(span.queries, slice(start, span.keys.stop), 0)


def _pieces(span: Span, rows: int) -> list[Span]:
    count = max(1, round(span.asked / rows))
    edges = [span.asked * at // count for at in range(count + 1)]
    first, last = span.queries.start, span.keys.stop
    return [
        Span(
            slice(first + start, first + end),
            slice(span.keys.start, last - span.asked + end),
            span.shared,
        )
        for start, end in itertools.pairwise(edges)
    ]
