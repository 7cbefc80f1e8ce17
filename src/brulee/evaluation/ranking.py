"""Scores of the answer that a model finds likeliest among a template's choices.

Rank classification (Brown et al. 2020, section 2.4; Sanh et al. 2021, section 4): every choice in
turn is taken for the whole answer, its end included, and the likeliest is what the model chose. A
model that knows the answer and puts it in other words is right here, and wrong in what it writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, final

from brulee.evaluation.base import Array, Asks, Metric

if TYPE_CHECKING:
    from brulee.inference.engine import Likelihood


@final
class Ranked(Metric):
    """A metric of labels, of the likeliest choice in place of what is written.

    By the log-probability of the whole choice, or by that for each byte of it (`per_byte`), which
    does not favour short choices: acc and acc_norm of lm-evaluation-harness, but that there the end
    of an answer is left out.
    """

    asks: Asks = "choices"

    def __init__(self, key: str, of: Metric, per_byte: bool = False) -> None:
        self.keys = (key,)
        likeliest = "the likeliest choice per byte" if per_byte else "the likeliest choice"
        self.summary = f"{of.summary}, where {likeliest} is the answer"
        self.per_byte: Final = per_byte
        self._of, (self._key,) = of, of.keys

    def choose(self, choices: Sequence[str], likelihoods: Sequence[Likelihood]) -> str:
        """The likeliest choice; of equally likely ones the first."""
        sizes = [max(1, len(c.encode())) if self.per_byte else 1 for c in choices]
        values = [f.log_probability / n for f, n in zip(likelihoods, sizes, strict=True)]
        return choices[values.index(max(values))]

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """Those of the metric of labels, of a choice: {key: (S,)}. Raises what that raises."""
        found = self._of.statistics(prediction, references)
        return {self.keys[0]: found[self._key]}

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """That of the metric of labels: (..., S) -> (...)."""
        del key
        return self._of.reduce(self._key, mean_S, items)
