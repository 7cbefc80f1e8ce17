"""Faithfulness of a summary to its source, judged by names and numbers.

Searches the source for the names, places, numbers, dates and times of a summary, including
inflected forms, digits or words, abbreviations or full forms. Anything not found was invented or
inferred (a sum, a count, a relative date) and deserves a look. A supported name or number may still
be attributed wrongly: this check uses no model and cannot detect that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from brulee.evaluation import quantities
from brulee.evaluation.base import Against, Array, Metric, check_references
from brulee.evaluation.names import Source, names
from brulee.evaluation.spans import Span


def checked(source: str, text: str) -> list[Span]:
    """Every name and number of a text, in order, with whether the source supports it."""
    known = quantities.said(source)
    numbers = [
        Span(q.start, q.end, "number", quantities.supported(q, known))
        for q in quantities.claims(text)
    ]
    found = [
        name
        for name in names(text, Source(source))
        if all(name.end <= n.start or n.end <= name.start for n in numbers)
    ]
    return sorted([*numbers, *found], key=lambda span: span.start)


def invented(source: str, text: str) -> list[Span]:
    """The names and numbers of a text that its source does not support."""
    return [span for span in checked(source, text) if not span.supported]


@final
class Faithfulness(Metric):
    """`faithfulness`: the share of names and numbers that the source supports, over all items.

    `invented`: the share of items with at least one unsupported name or number; lower is better.
    """

    keys = ("faithfulness", "invented")
    summary = "the share of names and numbers that are in the prompt; answers that invent one"
    against: Against = "source"

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """Counts of supported and of all names and numbers (2,); 1 if any is unsupported (1,).

        `references` are the sources, read as one text. Raises InputError if there is none.
        """
        check_references(references)
        spans = checked("\n".join(references), prediction)
        supported = sum(span.supported for span in spans)
        return {
            "faithfulness": np.array([supported, len(spans)], dtype=np.float64),
            "invented": np.array([float(supported < len(spans))]),
        }

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """Supported over all, or the mean; 1 if there are no names or numbers."""
        del items
        mean = np.asarray(mean_S, dtype=np.float64)
        if key == "invented":
            return mean[..., 0]
        supported, every = mean[..., 0], mean[..., 1]
        return np.divide(supported, every, out=np.ones_like(every), where=every > 0)

    def higher_is_better(self, key: str) -> bool:
        """Yes for `faithfulness`, no for `invented`."""
        return key == "faithfulness"
