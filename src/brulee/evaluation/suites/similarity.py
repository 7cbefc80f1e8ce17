"""STS-B: how alike two sentences are, from 0 to 5, scored by two correlations.

Read from likelihoods the answer is the expected value of " 0" to " 5", their probabilities taken
among themselves; written, it is the number in the text, and -1 for a text that is none (as in T5's
evaluation).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, final

import numpy as np

from brulee.evaluation.base import Array
from brulee.evaluation.suites.labels import INVALID
from brulee.evaluation.tasks import Example, Generation, Judged, Reply, SuiteTask

GRADES: Final = tuple(range(6))
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?")


@final
class Similarity(SuiteTask):
    """Pearson and Spearman correlation of the model's numbers with people's.

    An interval of Spearman's resamples the ranks that all items have together.
    """

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
        """The number in words, and its moments with the reference's."""
        given, valid = _expected(reply) if reply.likelihoods else _written(reply.text)
        output = f"{given:.3f}"
        if not example.references:
            return Judged(output)
        statistics = {"pearson": _moments(given, float(example.references[0]))}
        if self.generation:
            statistics[INVALID] = [float(not valid)]
        return Judged(output, statistics)

    def join(self, examples: Sequence[Example], judged: Sequence[Judged]) -> list[Judged]:
        """With the moments of the ranks."""
        del examples
        part = [one for one in judged if "pearson" in one.statistics]
        if not part:
            return list(judged)
        from scipy.stats import rankdata

        given_N, wanted_N = np.array([one.statistics["pearson"][:2] for one in part]).T
        ranks = zip(rankdata(given_N) / len(part), rankdata(wanted_N) / len(part), strict=True)
        of_part = {id(one): _moments(*pair) for one, pair in zip(part, ranks, strict=True)}
        return [
            Judged(one.output, {**one.statistics, "spearman": of_part[id(one)]})
            if id(one) in of_part
            else one
            for one in judged
        ]

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """The correlation that mean moments (..., 5) stand for: (...); 0 where one is constant."""
        del items
        mean = np.asarray(mean_S, dtype=np.float64)
        if key == INVALID:
            return mean[..., 0]
        x, y, xx, yy, xy = np.moveaxis(mean, -1, 0)
        x_spread, y_spread = xx - x * x, yy - y * y
        # What rounding leaves of a constant's spread is none.
        varied = (x_spread > 1e-12 * xx) & (y_spread > 1e-12 * yy)
        found = (xy - x * y) / np.sqrt(np.where(varied, x_spread * y_spread, 1.0))
        return np.where(varied, np.clip(found, -1.0, 1.0), 0.0)

    def higher_is_better(self, key: str) -> bool:
        """All but invalid answers."""
        return key != INVALID


def _moments(x: float, y: float) -> list[float]:
    return [x, y, x * x, y * y, x * y]


def _expected(reply: Reply) -> tuple[float, bool]:
    logs = np.array([f.log_probability for f in reply.likelihoods])
    weights = np.exp(logs - logs.max())
    return float(weights @ np.array(GRADES) / weights.sum()), True


def _written(text: str) -> tuple[float, bool]:
    found = _NUMBER.fullmatch(text.strip())
    return (float(found[0]), True) if found else (-1.0, False)
