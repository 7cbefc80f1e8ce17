"""Scores of the most likely answer among a template's choices.

Rank classification (Brown et al. 2020, section 2.4; Sanh et al. 2021, section 4): the likelihood of
every choice as the complete answer, end token included, is compared, and the most likely one is the
model's answer. A model that knows the answer but phrases it differently is right here and wrong by
its generated text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, final

from brulee.evaluation.base import Array, Asks, Metric

if TYPE_CHECKING:
    from brulee.inference.engine import Likelihood


@final
class Ranked(Metric):
    """A label metric applied to the most likely choice instead of the generated text.

    Choices are ranked by their log-probability, or by log-probability per byte (`per_byte`), which
    does not favour short choices. These are acc and acc_bytes of lm-evaluation-harness, except that
    the harness leaves out the end token.
    """

    asks: Asks = "choices"

    def __init__(self, key: str, of: Metric, per_byte: bool = False) -> None:
        self.keys = (key,)
        likeliest = "the likeliest choice per byte" if per_byte else "the likeliest choice"
        self.summary = f"{of.summary}, where {likeliest} is the answer"
        self.per_byte: Final = per_byte
        self._of, (self._key,) = of, of.keys

    def choose(self, choices: Sequence[str], likelihoods: Sequence[Likelihood]) -> str:
        """The most likely choice; the first of equally likely ones."""
        sizes = [max(1, len(c.encode())) if self.per_byte else 1 for c in choices]
        values = [f.log_probability / n for f, n in zip(likelihoods, sizes, strict=True)]
        return choices[values.index(max(values))]

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """The label metric's statistics of a choice: {key: (S,)}. Raises as that metric."""
        found = self._of.statistics(prediction, references)
        return {self.keys[0]: found[self._key]}

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """The label metric's score: (..., S) -> (...)."""
        del key
        return self._of.reduce(self._key, mean_S, items)
