"""STS-B: the similarity of two sentences, from 0 to 5, scored by two correlations.

By likelihood, the answer is the expected value of " 0" to " 5" under their normalised
probabilities. If generated, it is the text as a number, or -1 if it is not a number (as in T5's
evaluation).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, final

import numpy as np

from brulee.evaluation.base import Array
from brulee.evaluation.correlation import MISSING, Pearson, Spearman
from brulee.evaluation.suites.labels import INVALID
from brulee.evaluation.tasks import Example, Generation, Judged, Reply, SuiteTask

GRADES: Final = tuple(range(6))
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?")
_PEARSON: Final = Pearson()
_SPEARMAN: Final = Spearman()


@final
class Similarity(SuiteTask):
    """Pearson and Spearman correlation of the model's grades with human ones."""

    def __init__(
        self,
        name: str,
        load: Callable[[int | None], list[Example]],
        generation: Generation | None = None,
    ) -> None:
        self.name, self.generation, self._load = name, generation, load
        self.metrics = ("pearson", "spearman", *([INVALID] if generation else []))

    def examples(self, limit: int | None = None) -> list[Example]:
        """See `load`."""
        return self._load(limit)

    def judge(self, example: Example, reply: Reply) -> Judged:
        """The number, and its statistics for both correlations."""
        given, valid = _expected(reply) if reply.likelihoods else _written(reply.text)
        output = repr(given)
        if not example.references:
            return Judged(output)
        statistics = {
            key: [float(v) for v in values]
            for metric in (_PEARSON, _SPEARMAN)
            for key, values in metric.statistics(output, example.references).items()
        }
        if self.generation:
            statistics[INVALID] = [float(not valid)]
        return Judged(output, statistics)

    def join(self, examples: Sequence[Example], judged: Sequence[Judged]) -> list[Judged]:
        """Replace Spearman's statistics by values based on ranks among all items."""
        del examples
        part = [i for i, one in enumerate(judged) if "spearman" in one.statistics]
        joined = list(judged)
        if part:
            pairs_N2 = np.array([judged[i].statistics["spearman"] for i in part])
            for i, value in zip(part, _SPEARMAN.join("spearman", pairs_N2), strict=True):
                known = {**judged[i].statistics, "spearman": [float(v) for v in value]}
                joined[i] = Judged(judged[i].output, known)
        return joined

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """The correlation from mean statistics (..., S): (...)."""
        if key == INVALID:
            return super().reduce(key, mean_S, items)
        metric = _PEARSON if key == "pearson" else _SPEARMAN
        return metric.reduce(key, mean_S, items)

    def higher_is_better(self, key: str) -> bool:
        """True for every score except the share of invalid answers."""
        return key != INVALID


def _expected(reply: Reply) -> tuple[float, bool]:
    logs = np.array([f.log_probability for f in reply.likelihoods])
    weights = np.exp(logs - logs.max())
    return float(weights @ np.array(GRADES) / weights.sum()), True


def _written(text: str) -> tuple[float, bool]:
    found = _NUMBER.fullmatch(text.strip())
    return (float(found[0]), True) if found else (MISSING, False)
