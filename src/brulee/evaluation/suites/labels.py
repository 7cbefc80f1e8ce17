"""A task whose answers are labels, picked by likelihood or written out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, final

import numpy as np

from brulee.evaluation.base import Array, Metric
from brulee.evaluation.tasks import Example, Framing, Generation, Judged, Reply, SuiteTask

INVALID: Final = "invalid"  # the share of written answers that are no label


def likeliest(reply: Reply, by: Sequence[float] | None = None) -> int:
    """The choice with the highest log-probability, the first of equals; `by` divides each."""
    scores = [f.log_probability for f in reply.likelihoods]
    divided = scores if by is None else [s / b for s, b in zip(scores, by, strict=True)]
    return int(np.argmax(divided))


@final
class LabelTask(SuiteTask):
    """Labels scored by any metrics of evaluation/.

    `load(limit)` gives the examples, whose choices stand for `labels` in that order and whose lone
    reference is the right label. Where examples have no choices the label is written, which
    `written` turns into a label ("" for none), and the share of invalid ones is a score too.
    """

    def __init__(
        self,
        name: str,
        labels: Sequence[str],
        metrics: Sequence[Metric],
        load: Callable[[int | None], list[Example]],
        generation: Generation | None = None,
        written: Callable[[str], str] = str.strip,
        framing: Framing = "plain",
    ) -> None:
        self.name, self.labels, self.generation = name, tuple(labels), generation
        self.framing = framing
        self._metrics = {key: metric for metric in metrics for key in metric.keys}
        self.metrics = (*self._metrics, *([INVALID] if generation else []))
        self._load, self._written = load, written

    def examples(self, limit: int | None = None) -> list[Example]:
        """See `load`."""
        return self._load(limit)

    def judge(self, example: Example, reply: Reply) -> Judged:
        """The label, and what every metric counts of it."""
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
        """As the metric has it."""
        if key == INVALID:
            return np.asarray(mean_S, dtype=np.float64)[..., 0]
        return self._metrics[key].reduce(key, mean_S, items)

    def higher_is_better(self, key: str) -> bool:
        """All but invalid answers."""
        return key != INVALID
