"""How much a summary copies: extractive fragments, novel n-grams (Grusky et al. 2018, "Newsroom").

Coverage is the share of the summary's words in a fragment shared with the source; density is the
mean length of a word's fragment; both use the paper's greedy matching. Neither high nor low is
better: they show whether a model copies, which a faithfulness score alone rewards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

import numpy as np

from brulee.evaluation.base import Against, Array, Metric, check_references
from brulee.evaluation.words import unicode

NOVEL: Final = (1, 2, 3)


def fragments(source: Sequence[str], summary: Sequence[str]) -> list[int]:
    """Lengths of the longest fragments of the summary that also occur in the source, greedily."""
    places: dict[str, list[int]] = {}
    for i, word in enumerate(source):
        places.setdefault(word, []).append(i)
    found, at = [], 0
    while at < len(summary):
        longest = max(
            (_run(source, i, summary, at) for i in places.get(summary[at], [])), default=0
        )
        if longest:
            found.append(longest)
        at += max(longest, 1)
    return found


@final
class Extractiveness(Metric):
    """Coverage, density, and the shares of 1-, 2- and 3-grams that are not in the source."""

    keys = ("coverage", "density", *(f"novel_{n}grams" for n in NOVEL))
    summary = "how much of the prompt is copied, and how much is new"
    against: Against = "source"
    descriptive = True

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """One value per key: (1,). Raises InputError without a source.

        `references` are the sources, read as one text.
        """
        check_references(references)
        source, summary = unicode("\n".join(references)), unicode(prediction)
        runs = fragments(source, summary)
        count = max(len(summary), 1)
        values = {"coverage": sum(runs) / count, "density": sum(run * run for run in runs) / count}
        values |= {f"novel_{n}grams": _novel(source, summary, n) for n in NOVEL}
        return {key: np.array([value]) for key, value in values.items()}

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """The mean."""
        del key, items
        return np.asarray(mean_S, dtype=np.float64)[..., 0]


def _run(source: Sequence[str], i: int, summary: Sequence[str], at: int) -> int:
    length = 0
    for a, b in zip(source[i:], summary[at:], strict=False):
        if a != b:
            break
        length += 1
    return length


def _novel(source: Sequence[str], summary: Sequence[str], n: int) -> float:
    known = set(zip(*(source[i:] for i in range(n)), strict=False))
    grams = list(zip(*(summary[i:] for i in range(n)), strict=False))
    return sum(gram not in known for gram in grams) / max(len(grams), 1)
