"""Where nothing changed a run seldom says that something did, however much it looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from brulee.evaluation.answers import Answer
from brulee.evaluation.guards import Guard
from brulee.evaluation.stats import compare
from brulee.evaluation.tasks import Example, Judged, Reply, SuiteTask
from brulee.pipeline.comparing import adjusted, comparison
from brulee.pipeline.forgetting import forgotten, judged, suites_forgotten
from brulee.reporting import results as r
from brulee.reporting.verdict import verdict

TRIALS = 300  # five in a hundred are more than 8% of so many once in a hundred times


class Right(SuiteTask):
    """Right or wrong."""

    metrics = ("accuracy",)

    def __init__(self, name: str) -> None:
        self.name = name

    def examples(self, limit: int | None = None) -> list[Example]:
        return []

    def judge(self, example: Example, reply: Reply) -> Judged:
        return Judged("")


def answers(right: Any, each: int) -> list[Answer]:
    """One answer an item, of which so many each share a passage."""
    return [
        Answer(
            str(i), "t", "", "", (), {}, {"accuracy": [float(one)]}, 1,
            cluster=str(i // each) if each > 1 else "",
        )
        for i, one in enumerate(right)
    ]  # fmt: skip


def noisy(rng: np.random.Generator, items: int, each: int) -> tuple[list[Answer], list[Answer]]:
    """Right answers before and after: a fifth of the passages change, either way as often."""
    passages = items // each
    before, after = (rng.random((2, passages)) < 0.5).repeat(each, axis=1)
    changed = (rng.random(passages) < 0.2).repeat(each)
    return answers(before, each), answers(np.where(changed, after, before), each)


def said(rng: np.random.Generator, items: int, each: int = 1) -> str:
    names = [f"x/{i}" for i in range(6)] + [f"g{i}" for i in range(4)]
    guards = {name: Guard(Right(name), []) for name in names}
    sides = {name: noisy(rng, items, each) for name in names}
    found = [forgotten(name, guards[name], *sides[name], 200, 1000) for name in names]
    before, after = ({name: sides[name][k] for name in names} for k in (0, 1))
    means = suites_forgotten(guards, before, after, 200)
    return verdict(_run(forgetting=judged(found) + judged(means)))


def _run(**parts: Any) -> r.Results:
    base, method = r.Base(name="b", digest="0"), r.Method(name="lora")
    return r.Results(run="run", base=base, method=method, **parts)


@pytest.mark.slow
def test_ten_guards_that_did_not_change_are_seldom_said_to_be_forgotten() -> None:
    rng = np.random.default_rng(0)
    for items, each in ((20, 1), (100, 1), (60, 4)):
        false = sum("forgot" in said(rng, items, each) for _ in range(TRIALS))
        assert false / TRIALS <= 0.05, f"{items} items, {each} a passage: {false} of {TRIALS}"


@pytest.mark.slow
def test_ten_further_scores_that_did_not_change_are_seldom_said_to_be_worse() -> None:
    rng, false = np.random.default_rng(1), 0
    for _ in range(TRIALS):
        found = [
            compare(*rng.random((2, 40, 1)), lambda mean_S, _: mean_S[..., 0], 300, seed=i)
            for i in range(11)
        ]
        pairs = [comparison("t", str(i), one, True, True) for i, one in enumerate(found)]
        false += "got worse" in verdict(_run(comparisons=adjusted(pairs)))
    assert false / TRIALS <= 0.05, f"{false} of {TRIALS}"
