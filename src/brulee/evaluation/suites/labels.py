"""A task whose answers are labels, chosen by likelihood or generated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, final

import numpy as np

from brulee.evaluation.base import Array, Metric
from brulee.evaluation.tasks import Example, Generation, Judged, Reply, SuiteTask

INVALID: Final = "invalid"  # the share of generated answers that are not labels


def likeliest(reply: Reply, by: Sequence[float] | None = None) -> int:
    """The index of the most likely choice, the first of equals; `by` divides log-probabilities."""
    scores = [f.log_probability for f in reply.likelihoods]
    divided = scores if by is None else [s / b for s, b in zip(scores, by, strict=True)]
    return int(np.argmax(divided))


@final
class LabelTask(SuiteTask):
    """Labels scored by any metrics of evaluation/.

    `load(limit)` returns the examples, whose choices correspond to `labels` in order and whose only
    reference is the correct label. If examples have no choices, the label is generated: `written`
    maps the text to a label (any other text counts as invalid), and the share of invalid answers is
    another score.
    """

    def __init__(
        self,
        name: str,
        labels: Sequence[str],
        metrics: Sequence[Metric],
        load: Callable[[int | None], list[Example]],
        generation: Generation | None = None,
        written: Callable[[str], str] = str.strip,
    ) -> None:
        self.name, self.labels, self.generation = name, tuple(labels), generation
        self._metrics = {key: metric for metric in metrics for key in metric.keys}
        self.metrics = (*self._metrics, *([INVALID] if generation else []))
        self._load, self._written = load, written

    def examples(self, limit: int | None = None) -> list[Example]:
        """See `load`."""
        return self._load(limit)

    def judge(self, example: Example, reply: Reply) -> Judged:
        """The label, and its statistics for every metric."""
        chosen = bool(reply.likelihoods)
        output = self.labels[likeliest(reply)] if chosen else self._written(reply.text)
        if not example.references:
            return Judged(output)
        statistics = {
            key: [float(v) for v in values]
            for metric in dict.fromkeys(self._metrics.values())
            for key, values in metric.statistics(output, example.references).items()
        }
        if self.generation:
            statistics[INVALID] = [float(output not in self.labels)]
        return Judged(output, statistics)

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """The metric's score; the mean for `invalid`."""
        if key == INVALID:
            return np.asarray(mean_S, dtype=np.float64)[..., 0]
        return self._metrics[key].reduce(key, mean_S, items)

    def higher_is_better(self, key: str) -> bool:
        """True for every score except the share of invalid answers."""
        return key != INVALID
