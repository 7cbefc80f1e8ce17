"""The metric interface: text to per-item statistics, mean statistics to a score.

Shape legend: `N` items, `S` statistics of one item, `B` resamples.

A corpus metric such as BLEU is a function of summed counts; an averaged one such as ROUGE is a mean
of item scores. Both are a `reduce` over mean statistics, so one bootstrap and one permutation test
(stats.py) serve every metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from brulee.errors import InputError

Array: TypeAlias = NDArray[np.float64]
Against: TypeAlias = Literal["references", "source", "calls"]
Asks: TypeAlias = Literal["text", "choices", "likelihood"]


class Metric(Protocol):
    """What every metric provides: score names, per-item statistics, a score from their mean."""

    keys: tuple[str, ...]
    summary: str = ""  # what it measures, in a few words: `brulee metrics list` shows it
    # What `statistics` compares with: references, the prompt, or tool calls (both sides as JSON).
    against: Against = "references"
    asks: Asks = "text"  # what it scores: generated text, the most likely choice, a plain text
    refuses: bool = False  # whether `check` rejects some references
    descriptive: bool = False  # whether neither a high nor a low score is better

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """The statistics of one item: key -> (S,), without the keys that exclude the item.

        Which keys exclude it may depend only on the references, because two models are compared on
        the same items. Raises InputError when there is no reference.
        """

    def check(self, references: Sequence[str]) -> None:
        """Raise InputError for references that the metric cannot use."""
        check_references(references)

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """The score in [0, 1] for mean statistics (..., S) over `items` items: (...).

        `items` is a number or (...). Most metrics need only the mean; BLEU's smoothing adds half a
        match to the whole corpus, which the mean cannot express without the number of items.
        """

    def join(self, key: str, stats_NS: Array) -> Array:
        """Statistics for a `reduce` that depends on all items (ranks, equal-mass bins).

        (N, S) -> (N, S'); returns the statistics unchanged unless a metric overrides it.
        """
        del key
        return stats_NS

    def higher_is_better(self, key: str) -> bool:
        """Whether a higher score is better."""
        del key
        return True

    def item(self, key: str, stats_S: Array) -> float:
        """The score of one item alone."""
        return float(self.reduce(key, np.asarray(stats_S, dtype=np.float64), 1.0))


class MeanMetric(Metric, Protocol):
    """A metric whose score is the plain mean of item scores (S = 1)."""

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """The mean itself: (..., 1) -> (...)."""
        del key, items  # the mean depends on neither
        return np.asarray(mean_S, dtype=np.float64)[..., 0]


def check_references(references: Sequence[str]) -> None:
    """Raise InputError for an empty list, or for a string instead of a list of strings."""
    if isinstance(references, str):
        raise InputError("references must be a list of texts, not one text; write [reference].")
    if not references:
        raise InputError("no reference to score against; an item needs at least one.")
