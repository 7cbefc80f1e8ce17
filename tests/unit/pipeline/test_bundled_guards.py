"""A model that did not change is found to have kept what the bundled guards ask."""

from __future__ import annotations

import pytest

from brulee.evaluation.answers import Answer
from brulee.evaluation.guards import Guard, open_guards
from brulee.pipeline.forgetting import forgotten, judged
from brulee.reporting.results import Forgetting

GUARDS = ("common-knowledge", "other-instructions", "plain-prose")
RIGHT_OR_WRONG = 189  # unchanged answers from which on a loss beyond 0.02 is ruled out


def answers(guard: Guard) -> list[Answer]:
    """Every second question right; a bit a byte of every text, more of some than of others."""
    found = []
    for i, example in enumerate(guard.examples):
        size = float(len(example.choices[0].encode()))
        right, bits = [float(i % 2)], [size * (1 + i % 7 / 7), size]
        statistics = {guard.metric: right if guard.metric == "accuracy" else bits}
        found.append(Answer(example.id, "t", "", "", (), {}, statistics, 1))
    return found


def unchanged(limit: int | None) -> dict[str, Forgetting]:
    """Each guard, asked of one and the same model before and after."""
    guards = open_guards(GUARDS, {}, limit)
    found = [
        forgotten(name, guard, answers(guard), answers(guard), 500)
        for name, guard in guards.items()
    ]
    return {change.task: change for change in judged(found)}


@pytest.mark.parametrize("name", GUARDS)
def test_an_unchanged_model_kept_every_bundled_guard(name: str) -> None:
    found = unchanged(None)[name]
    assert found.kept == "kept"
    assert found.difference == 0


def test_fewer_questions_cannot_show_that_nothing_was_lost_and_texts_can() -> None:
    few, fewer, enough = (unchanged(n) for n in (40, RIGHT_OR_WRONG - 1, RIGHT_OR_WRONG))
    said = [found["common-knowledge"].kept for found in (few, fewer, enough)]
    assert said == ["unclear", "unclear", "kept"]
    assert {few[name].kept for name in GUARDS[1:]} == {"kept"}
