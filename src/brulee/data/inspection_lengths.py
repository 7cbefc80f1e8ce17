"""How long documents are, and what lengths mean for cutting, packing and padding.

Everything here is arithmetic over token counts; no text is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_BINS = 30
_SIZES = 6


@dataclass(frozen=True, slots=True)
class Measured:
    """One training document as it is before anything is cut.

    `prompt` and `learned` are tokens; `fewer` its lengths with one example less each; `least` its
    length with an empty source and no examples, None where nothing of it can be cut. A `plain` text
    is divided at every length, and loses nothing.
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
        """Tokens in all."""
        return self.prompt + self.learned

    def fits(self, most: int) -> bool:
        """Whether it fits into so many tokens, cut or not."""
        return (
            self.plain
            or self.whole(most) is not None
            or (self.least is not None and self.least <= most)
        )

    def whole(self, most: int) -> int | None:
        """Its length with as many of its examples as fit; None where its source has to be cut."""
        return next((size for size in (self.length, *self.fewer) if size <= most), None)

    def after(self, most: int) -> int:
        """Its length in training, where it fits; a cut source is taken to fill all the room."""
        return self.whole(most) or most


@dataclass(frozen=True)
class Lengths:
    """The spread of one length in tokens, with its histogram.

    Bin k counts lengths from k * `bin_width` on; the last one also counts `beyond` longer ones.
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
    """What a `max_length` does: rows cut in their source, tokens lost, rows that fit in no way.

    The last, `misfits`, need another phrasing or are left out; `fewer_examples` only lose some of
    the examples shown before them.
    """

    max_length: int
    rows_cut: int
    tokens_lost: int
    misfits: int
    fewer_examples: int = 0
    completions_cut: int = 0


@dataclass(frozen=True)
class Packing:
    """What batches hold: how full packed passes are, how much of padded ones is padding."""

    token_budget: int
    passes: int
    filled: float
    batch_size: int
    padded_batches: int
    padding: float


def lengths(values: Sequence[int]) -> Lengths:
    """The spread of some lengths; quantiles are values that occur."""
    ordered = sorted(values)
    longest, p99 = ordered[-1], _quantile(ordered, 0.99)
    # A tail much longer than the rest would squeeze everything else into the first bin.
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


def sizes(measured: Sequence[Measured], max_length: int) -> tuple[int, ...]:
    """The lengths worth comparing: `max_length`, powers of two from the median to the longest."""
    ordered = sorted(m.length for m in measured)
    low, high = max(8, _quantile(ordered, 0.5)), ordered[-1]
    powers = [2**k for k in range(3, 31) if low / 2 < 2**k < 2 * high]
    return tuple(sorted({max_length, *powers[-_SIZES + 1 :]}))


def cuts(measured: Sequence[Measured], candidates: Iterable[int]) -> tuple[Cut, ...]:
    """What each length would cut; a document that fits in no way is not cut short."""
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
    """Documents of these lengths, in this order, packed into passes or padded into batches."""
    passes = room = 0
    for length in sequence:
        if passes == 0 or length > room:
            passes, room = passes + 1, token_budget
        room -= min(length, room)
    batches = [sequence[i : i + batch_size] for i in range(0, len(sequence), batch_size)]
    cells = sum(len(batch) * max(batch) for batch in batches)
    total = sum(sequence)
    # A document longer than the budget has a pass of its own, and fills it.
    offered = passes * token_budget + sum(max(0, length - token_budget) for length in sequence)
    return Packing(
        token_budget, passes, total / offered, batch_size, len(batches), 1 - total / cells
    )


def _quantile(ordered: Sequence[int], share: float) -> int:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _round_width(raw: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50 ..."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= raw:
                return factor * power
        power *= 10
