"""Two trainings side by side: the same documents, unequal work refused, warm-up left out."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def jobs(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("versus_jobs")


@pytest.fixture(scope="module")
def versus(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("versus_trl")


def run(**changes: Any) -> dict[str, Any]:
    """What a side reports of three steps, the first of them slow."""
    return {
        "seconds": [9.0, 1.0, 1.0],
        "tokens": [10, 20, 30],
        "losses": [3.0, 2.0, 1.0],
        "grad_norms": [1.0, 1.0, 1.0],
        "peak_memory_bytes": 100,
        **changes,
    }


def test_random_documents_have_exactly_the_length_and_learn_all_but_the_first(
    jobs: ModuleType,
) -> None:
    documents = jobs.random_documents(3, 16, 100)
    assert [(len(ids), learned) for ids, learned in documents] == [(16, 15)] * 3
    assert all(jobs.FIRST_ID <= i < 100 for ids, _ in documents for i in ids)
    assert documents == jobs.random_documents(3, 16, 100)
    assert documents[0] != documents[1]


def test_what_is_given_changes_a_pair_and_nothing_else_does(jobs: ModuleType) -> None:
    pair = jobs.PAIRS["qlora-7b-packed"]
    assert jobs.changed(pair, model=None, tokens=None) == pair
    changed = jobs.changed(pair, model="tiny", tokens=64)
    assert (changed.model, changed.tokens) == ("tiny", 64)
    assert changed.quantise == pair.quantise == "nf4"


def test_too_few_conversations_begin_again(jobs: ModuleType, tmp_path) -> None:
    file = tmp_path / "two.jsonl"
    rows = ['{"dialogue": "A: Hello.", "summary": "A greets."}']
    rows += ['{"dialogue": "A: Good night.", "summary": "A leaves."}']
    file.write_text("\n".join(rows))
    documents = jobs._conversations(str(file), 5)
    assert documents[0] == documents[2] == documents[4] != documents[1] == documents[3]
    assert all(0 < learned < len(ids) for ids, learned in documents)


def test_random_ids_are_refused_for_a_model_whose_vocabulary_is_not_known(jobs: ModuleType) -> None:
    with pytest.raises(SystemExit, match="bundled"):
        jobs._random(jobs.Pair(tokens=8), 1)


def test_speed_is_that_of_the_steps_after_warming_up(versus: ModuleType) -> None:
    assert versus.speed(run(), 1) == 25.0
    assert versus.speed(run(), 2) == 30.0


def test_ratios_are_of_the_first_to_the_second(versus: ModuleType) -> None:
    peer = run(seconds=[9.0, 4.0, 6.0], peak_memory_bytes=400)
    found = versus.compared({"brulee": run(), "peer": peer}, 1)
    assert (found["speed_ratio"], found["memory_ratio"]) == (5.0, 0.25)
    assert found["seconds_of_all_steps"] == {"brulee": 11.0, "peer": 19.0}
    assert "reserved_ratio" not in found


def test_reserved_memory_is_compared_where_there_is_some(versus: ModuleType) -> None:
    sides = {"brulee": run(peak_reserved_bytes=30), "peer": run(peak_reserved_bytes=60)}
    assert versus.compared(sides, 1)["reserved_ratio"] == 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"tokens": [10, 20, 31]},
        {"losses": [3.0, 2.0, 1.03]},
        {"grad_norms": [1.0, 0.0, 1.0]},
    ],
)
def test_unequal_work_is_refused(versus: ModuleType, changes: dict[str, Any]) -> None:
    versus.assert_equal_work(run(), run(losses=[3.01, 2.0, 1.0]))
    with pytest.raises(AssertionError):
        versus.assert_equal_work(run(), run(**changes))
