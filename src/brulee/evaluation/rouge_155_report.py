"""The averages with bootstrap intervals that ROUGE-1.5.5 prints for a set of items.

The printed average is the mean over the resamples, not over the items. Resample i uses Perl's
random numbers (the 48-bit linear congruential generator drand48) with seed i, over the items in the
order of their ids as text ("1.X", "10.X", "2.X"), so results are reproducible.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from brulee.evaluation.base import Array
from brulee.evaluation.rouge_155 import Item, round5

_MULTIPLIER, _INCREMENT, _SEED_LOW = 0x5DEECE66D, 0xB, 0x330E
_48_BITS: Final = np.uint64((1 << 48) - 1)


class Average(NamedTuple):
    """A mean over resamples and the bounds of its interval."""

    value: float
    low: float
    high: float


class Report(NamedTuple):
    """The three averages that the script prints."""

    recall: Average
    precision: Average
    f: Average


def report(
    items: Sequence[Item],
    by_token: bool = False,
    alpha: float = 0.5,
    confidence: float = 95.0,
    resamples: int = 1000,
) -> Report:
    """Averages over items (-t 0), or `by_token` over summed counts (-t 1).

    `confidence` is in percent (-c); `resamples` is -r.
    """
    ordered = [items[i] for i in sorted(range(len(items)), key=lambda i: f"{i + 1}.X")]
    drawn_BN = _draws(len(items), resamples)
    if by_token:
        counts_NS = np.array([(i.wanted, i.given, i.hits) for i in ordered], dtype=np.float64)
        values_BS = _of_counts(counts_NS[drawn_BN].sum(1), alpha)
    else:
        scores_NS = np.array([(i.recall, i.precision, i.f) for i in ordered])
        values_BS = scores_NS[drawn_BN].sum(1) / len(items)
    return Report(*(_average(values_B, confidence) for values_B in values_BS.T))


def totals(items: Sequence[Item]) -> tuple[int, int, int]:
    """Total numbers of reference, prediction and matched units over all items (-t 2)."""
    wanted, given, hits = (
        int(sum(getattr(item, name) for item in items)) for name in ("wanted", "given", "hits")
    )
    return wanted, given, hits


def _draws(count: int, resamples: int) -> NDArray[np.int64]:
    """Which items each resample draws: (B, N)."""
    state = (np.arange(resamples, dtype=np.uint64) << np.uint64(16)) + np.uint64(_SEED_LOW)
    drawn = np.empty((resamples, count), dtype=np.int64)
    for i in range(count):
        state = (state * np.uint64(_MULTIPLIER) + np.uint64(_INCREMENT)) & _48_BITS
        drawn[:, i] = (state * 2.0**-48 * count).astype(np.int64)
    return drawn


def _of_counts(counts_BS: Array, alpha: float) -> Array:
    wanted, given, hits = counts_BS.T
    recall = np.divide(hits, wanted, out=np.zeros_like(hits), where=wanted > 0)
    precision = np.divide(hits, given, out=np.zeros_like(hits), where=given > 0)
    below = (1 - alpha) * precision + alpha * recall
    f = np.divide(recall * precision, below, out=np.zeros_like(hits), where=below > 0)
    return np.stack([recall, precision, f], axis=1)


def _average(values_B: Array, confidence: float) -> Average:
    ranked = np.sort(values_B)
    tail = len(ranked) * ((100 - confidence) / 2.0) / 100.0
    upper, lower = int(len(ranked) - tail - 1), int(tail)
    between = len(ranked) - tail - 1 - upper

    def at(i: int) -> float:
        following = ranked[i + 1] if i + 1 < len(ranked) else 0.0
        return round5(float(ranked[i] + (following - ranked[i]) * between))

    return Average(round5(float(sum(ranked)) / len(ranked)), at(lower), at(upper))
