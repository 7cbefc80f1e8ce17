"""The choice of shots for a scenario."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from brulee.evaluation.suites.helm.instance import Instance


def draw_shots(solved: Sequence[Instance], count: int, seed: int = 0) -> list[Instance]:
    """Draw `count` shots, balanced over answers, as HELM does; fewer if there are not enough.

    Answers are ordered by frequency, ties at random; then one random instance of each is taken in
    turn. Random numbers are drawn in HELM's order, so the same list and seed give the same shots as
    HELM.
    """
    rng = random.Random(seed)
    by_answer: dict[str, list[Instance]] = {}
    for instance in solved:
        by_answer.setdefault(instance.answer, []).append(instance)
    by_count: dict[int, list[str]] = {}
    for answer, instances in sorted(by_answer.items()):
        by_count.setdefault(len(instances), []).append(answer)
    answers = []
    for number in sorted(by_count, reverse=True):
        rng.shuffle(by_count[number])
        answers += by_count[number]
    drawn: list[Instance] = []
    wanted = min(count, len(solved))
    for answer in itertools.cycle(answers):
        if len(drawn) == wanted:
            break
        left = by_answer[answer]
        if left:
            drawn.append(left.pop(rng.randrange(len(left))))
    return drawn
