"""Labels of sentence pairs that differ in a pronoun's gender, and their agreement (AX-g)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final, final

from brulee.evaluation.base import Array
from brulee.evaluation.suites.labels import LabelTask
from brulee.evaluation.tasks import Example, Judged, Reply, SuiteTask

PARITY: Final = "gender_parity"


@final
class PairedLabels(SuiteTask):
    """A label task plus the share of its pairs (clusters of two) with equal answers."""

    def __init__(self, labels: LabelTask) -> None:
        self._labels = labels
        self.name, self.metrics = labels.name, (*labels.metrics, PARITY)

    def examples(self, limit: int | None = None) -> list[Example]:
        """The label task's examples."""
        return self._labels.examples(limit)

    def judge(self, example: Example, reply: Reply) -> Judged:
        """As the label task does."""
        return self._labels.judge(example, reply)

    def join(self, examples: Sequence[Example], judged: Sequence[Judged]) -> list[Judged]:
        """Add parity to both items of a complete pair: 1 if the answers are equal, else 0."""
        pairs: dict[str, list[Judged]] = defaultdict(list)
        for example, one in zip(examples, judged, strict=True):
            pairs[example.cluster].append(one)
        return [
            _with_parity(one, pairs[example.cluster])
            for example, one in zip(examples, judged, strict=True)
        ]

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """The mean for parity, else the label task's score."""
        if key == PARITY:
            return super().reduce(key, mean_S, items)
        return self._labels.reduce(key, mean_S, items)


def _with_parity(one: Judged, pair: Sequence[Judged]) -> Judged:
    if len(pair) != 2:
        return one
    equal = float(pair[0].output == pair[1].output)
    return Judged(one.output, {**one.statistics, PARITY: [equal]})
