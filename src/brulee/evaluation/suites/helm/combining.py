"""The score of one wording of an instance, from the replies to its requests.

Usually there is one request, and its reply already has a score. Passages have one request each and
are ranked by all replies. Calibrated options have two: their likelihood after the question, and
after "Answer:" alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Final

import numpy as np

from brulee.evaluation.suites.helm.ranking import ndcg, order, reciprocal_rank
from brulee.evaluation.tasks import Example, Judged

# Statistics of single replies that are not scores.
CONFIDENCE: Final = "confidence"
RIGHT: Final = "right"
YES: Final = "yes"
NO: Final = "no"
OPTIONS: Final = "options"

Statistics = dict[str, list[float]]


def combined(own: Sequence[str], examples: Sequence[Example], judged: Sequence[Judged]) -> Judged:
    """The output and statistics of one wording, from its examples and their scores."""
    first = judged[0].statistics
    if YES in first:
        yes, no = ([one.statistics[key][0] for one in judged] for key in (YES, NO))
        about = examples[0].about
        ranked = order(yes, no)
        ranks = {"rr@10": [reciprocal_rank(ranked, about["right"])]}
        return Judged(judged[0].output, {**ranks, "ndcg@10": [ndcg(ranked, about["relevance"])]})
    if OPTIONS in first:
        after_question, alone = (one.statistics[OPTIONS] for one in judged)
        gains = [a - b for a, b in zip(after_question, alone, strict=True)]
        picked = int(np.argmax(gains))
        return chosen(own, examples[0], picked, share(gains, picked))
    return judged[0]


def chosen(own: Sequence[str], example: Example, picked: int, confidence: float) -> Judged:
    """The scores and confidence for picking one of the choices."""
    right = [float(picked in example.about["right"])]
    scores = {key: list(right) for key in own}
    return Judged(
        example.choices[picked].strip(), {**scores, CONFIDENCE: [confidence], RIGHT: right}
    )


def share(scores: Sequence[float], picked: int) -> float:
    """The softmax probability of the picked score."""
    return 1 / sum(exp(score - scores[picked]) for score in scores)
