"""Document lengths, and what they mean for cutting, packing and padding.

Everything here is arithmetic over token counts; no text is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_BINS = 30
_SIZES = 6


@dataclass(frozen=True, slots=True)
class MeasuredDocument:
    """One training document before cutting.

    `prompt` and `learned` are token counts; `fewer` its lengths with one example less each; `least`
    its length with an empty source and no examples, None if nothing can be cut. A `plain` text is
    divided at any length, and loses nothing.
    """

    part: str
    row: int
    template: int
    prompt: int
    learned: int
    least: int | None = None
    fewer: tuple[int, ...] = ()
    plain: bool = False

    @property
    def length(self) -> int:
        """The number of tokens."""
        return self.prompt + self.learned

    def fits(self, most: int) -> bool:
        """Whether it fits into `most` tokens, cut if necessary."""
        return (
            self.plain
            or self.whole(most) is not None
            or (self.least is not None and self.least <= most)
        )

    def whole(self, most: int) -> int | None:
        """Its length with as many examples as fit; None if its source has to be cut."""
        return next((size for size in (self.length, *self.fewer) if size <= most), None)

    def after(self, most: int) -> int:
        """Its length in training if it fits; a cut document is assumed to fill `most` tokens."""
        return self.whole(most) or most


@dataclass(frozen=True)
class Lengths:
    """The distribution of a length in tokens, with a histogram.

    Bin k counts lengths from k * `bin_width`; the last bin includes the `beyond` longer ones.
    """

    mean: float
    p50: int
    p95: int
    max: int
    total: int
    bin_width: int
    bins: tuple[int, ...]
    beyond: int


@dataclass(frozen=True)
class Cut:
    """The effect of a `max_length`: rows whose source is cut, tokens lost, rows that do not fit.

    The last, `misfits`, need another template or are left out; `fewer_examples` counts rows that
    only lose few-shot examples.
    """

    max_length: int
    rows_cut: int
    tokens_lost: int
    misfits: int
    fewer_examples: int = 0
    completions_cut: int = 0


@dataclass(frozen=True)
class Packing:
    """Batch statistics: how full packed passes are, and the share of padding in padded batches."""

    token_budget: int
    passes: int
    filled: float
    batch_size: int
    padded_batches: int
    padding: float


def lengths(values: Sequence[int]) -> Lengths:
    """The distribution of lengths; quantiles are values that occur."""
    ordered = sorted(values)
    longest, p99 = ordered[-1], _quantile(ordered, 0.99)
    # A long tail would squeeze everything else into the first bin.
    top = longest if longest <= 2 * p99 else math.ceil(1.5 * p99)
    width = _round_width((top + 1) / _BINS)
    count = top // width + 1
    bins = [0] * count
    for value in ordered:
        bins[min(value // width, count - 1)] += 1
    beyond = sum(value >= count * width for value in ordered)
    total = sum(ordered)
    return Lengths(
        total / len(ordered),
        _quantile(ordered, 0.5),
        _quantile(ordered, 0.95),
        longest,
        total,
        width,
        tuple(bins),
        beyond,
    )


def sizes(measured: Sequence[MeasuredDocument], max_length: int) -> tuple[int, ...]:
    """The lengths to compare: `max_length`, and powers of two from the median to the longest."""
    ordered = sorted(m.length for m in measured)
    low, high = max(8, _quantile(ordered, 0.5)), ordered[-1]
    powers = [2**k for k in range(3, 31) if low / 2 < 2**k < 2 * high]
    return tuple(sorted({max_length, *powers[-_SIZES + 1 :]}))


def cuts(measured: Sequence[MeasuredDocument], candidates: Iterable[int]) -> tuple[Cut, ...]:
    """The effect of each maximum length; documents that do not fit are not counted as cut."""
    found = []
    for most in candidates:
        long = [m for m in measured if m.length > most and not m.plain]
        fitting = [m for m in long if m.fits(most)]
        fewer = sum(m.whole(most) is not None for m in fitting)
        lost = sum(m.length - m.after(most) for m in fitting)
        misfits = len(long) - len(fitting)
        found.append(Cut(most, len(fitting) - fewer, lost, misfits, fewer))
    return tuple(found)


def packing(sequence: Sequence[int], batch_size: int, token_budget: int) -> Packing:
    """Statistics of documents, in this order, packed into passes or padded into batches."""
    passes = room = 0
    for length in sequence:
        if passes == 0 or length > room:
            passes, room = passes + 1, token_budget
        room -= min(length, room)
    batches = [sequence[i : i + batch_size] for i in range(0, len(sequence), batch_size)]
    cells = sum(len(batch) * max(batch) for batch in batches)
    total = sum(sequence)
    # A document longer than the budget fills a pass by itself.
    offered = passes * token_budget + sum(max(0, length - token_budget) for length in sequence)
    return Packing(
        token_budget, passes, total / offered, batch_size, len(batches), 1 - total / cells
    )


def _quantile(ordered: Sequence[int], share: float) -> int:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _round_width(raw: float) -> int:
    """Round up to the next of 1, 2, 5, 10, 20, 50 ..."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= raw:
                return factor * power
        power *= 10
