"""Which rows of a pack attend to which others.

Documents with a common beginning can share it: it is computed once, at the front of the pack, and
every document attends to it as if it directly preceded the document's own part.

    row          |- shared -|-- a --|- b -|---- c ----|
    attends to    itself     shared, a      shared, c

The queries of a span are the last of its keys, so the causal mask is aligned to the last of both.
In a model's last layer, only the rows from a document's first learned position on are queries.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """A range of queries and the range of their own keys.

    In addition, a span reads the first `shared` keys of the pack, before its own.
    """

    queries: slice
    keys: slice
    shared: int

    @property
    def asked(self) -> int:
        """The number of queries."""
        return int(self.queries.stop - self.queries.start)

    @property
    def read(self) -> int:
        """The number of keys, including the shared ones."""
        return int(self.shared + self.keys.stop - self.keys.start)


def spans_of(segments: Sequence[int], shared: int) -> list[Span]:
    """Spans in which every row is a query; with `shared`, the first segment is the common one."""
    return asking(segments, shared, segments)


def asking(segments: Sequence[int], shared: int, asked: Sequence[int]) -> list[Span]:
    """Spans with the last `asked` rows of each segment as queries, without those that have none."""
    found: list[Span] = []
    query = key = 0
    for at, (length, asks) in enumerate(zip(segments, asked, strict=True)):
        before = shared if at else 0
        if asks:
            found.append(Span(slice(query, query + asks), slice(key, key + length), before))
        query, key = query + asks, key + length
    return found


def after_prefix(spans: Sequence[Span], count: int) -> list[Span]:
    """The same spans with a prefix: all read `count` keys that precede the pack's own."""
    return [
        Span(s.queries, slice(s.keys.start + count, s.keys.stop + count), s.shared + count)
        for s in spans
    ]


def cut(spans: Sequence[Span], rows: int) -> list[Span]:
    """The same spans split into pieces of about `rows` queries, without keys after the last query.

    This avoids computing scores of a span's first queries that the causal mask would hide.
    """
    return [piece for span in spans for piece in _pieces(span, rows)]


def near(spans: Sequence[Span], window: int) -> list[Span]:
    """The same spans for a sliding `window`, without keys that none of a span's queries sees.

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
