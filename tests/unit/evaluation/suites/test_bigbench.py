"""Whole tasks: which ways a task is asked in, what solvers score, and the normalised score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brulee.errors import InputError
from brulee.evaluation.asking import Asked
from brulee.evaluation.scores import task_scores
from brulee.evaluation.suite_run import answered
from brulee.evaluation.suites import suite
from brulee.evaluation.suites.bigbench_presets import HARD, LITE
from brulee.evaluation.tasks import Example, Reply, SuiteTask, TaskScores
from brulee.inference.engine import Likelihood

FIXTURE = Path(__file__).parents[3] / "fixtures" / "bigbench"
BIGBENCH = suite("bigbench")


def opened(data: Path = FIXTURE, **options: Any) -> dict[str, SuiteTask]:
    return {task.name: task for task in BIGBENCH.open(data, BIGBENCH.Options(**options))}


def gold(example: Example) -> Reply:
    found = [
        Likelihood(0.0 if choice in example.references else -50.0, 1, True)
        for choice in example.choices
    ]
    return Reply(tuple(found), text="" if found else example.references[0])


def first(example: Example) -> Reply:
    """Always the first choice, and a text that is never right."""
    found = [Likelihood(-float(i), 1, True) for i in range(len(example.choices))]
    return Reply(tuple(found), text="" if found else "no idea")


def scored(task: SuiteTask, solver: Any) -> TaskScores:
    answers = []
    for example in task.examples():
        reply = solver(example)
        asked = Asked(example, (), (), None, 0)
        answers.append(answered(task, asked, reply, task.judge(example, reply)))
    return task_scores(task, answers, 50)


def values(task: SuiteTask, solver: Any) -> dict[str, float]:
    return {key: s.interval.value for key, s in scored(task, solver).scores.items()}


def test_a_task_with_several_kinds_of_metric_is_asked_in_each_way() -> None:
    tasks = opened()
    assert list(tasks) == [
        "bigbench/paraphrase", "bigbench/paraphrase+likely",
        "bigbench/pet_sounds", "bigbench/pet_sounds+generated",
        "bigbench/sums/chosen", "bigbench/sums/written",
    ]  # fmt: skip
    assert tasks["bigbench/paraphrase"].metrics[0] == "rougeLsum"
    assert tasks["bigbench/pet_sounds"].metrics == (
        "multiple_choice_grade",
        "calibration_multiple_choice_brier_score",
        "expected_calibration_error",
    )
    assert not tasks["bigbench/pet_sounds"].higher_is_better("expected_calibration_error")


def test_gold_answers_score_one_and_repeated_examples_count_once() -> None:
    tasks = opened()
    assert values(tasks["bigbench/pet_sounds"], gold) == pytest.approx(
        {
            "multiple_choice_grade": 1.0,
            "calibration_multiple_choice_brier_score": 0.0,
            "expected_calibration_error": 0.0,
        }
    )
    assert len(tasks["bigbench/pet_sounds"].examples()) == 3
    assert values(tasks["bigbench/pet_sounds+generated"], gold) == {"exact_str_match": 1.0}
    assert set(values(tasks["bigbench/sums/written"], gold).values()) == {1.0}
    assert values(tasks["bigbench/paraphrase"], gold) == pytest.approx(
        {"rougeLsum": 1.0, "rouge1": 1.0, "rouge2": 1.0, "bleu": 1.0}
    )


def test_the_normalised_score_is_one_for_gold_and_chance_is_zero() -> None:
    tasks = opened()
    best = {name: scored(task, gold) for name, task in tasks.items()}
    found = {a.task: a for a in BIGBENCH.aggregates(best)}
    assert found["bigbench"].interval.value == pytest.approx(1.0)
    assert found["bigbench"].tasks == 3
    assert "only 3 of 167 tasks" in found["bigbench"].label
    assert found["bigbench/sums"].tasks == 2
    assert found["bigbench"].interval.n == 2 + 3 + (3 + 4)
    grade = {"bigbench/pet_sounds": scored(tasks["bigbench/pet_sounds"], first)}
    # The first choice is right once in three: "cat", "cat" and "cow" stand first.
    (only,) = BIGBENCH.aggregates(grade)
    assert grade["bigbench/pet_sounds"].scores["multiple_choice_grade"].interval.value == (
        pytest.approx(1 / 3 * 2)
    )
    assert only.interval.value == pytest.approx((2 / 3 - 1 / 3) / (1 - 1 / 3))


def test_a_worse_choice_than_chance_is_negative() -> None:
    task = opened(tasks=["sums/chosen"])["bigbench/sums/chosen"]

    def wrong(example: Example) -> Reply:
        return Reply(
            tuple(Likelihood(-float(c in example.references), 1, True) for c in example.choices)
        )

    (aggregate, *_) = BIGBENCH.aggregates({task.name: scored(task, wrong)})
    assert aggregate.interval.value == pytest.approx(-1.0)


def test_presets_have_their_published_sizes() -> None:
    assert len(set(LITE)) == 24
    assert len(set(HARD)) == 23


def test_a_folder_may_be_one_task_or_the_package(tmp_path: Path) -> None:
    assert list(opened(FIXTURE / "sums")) == ["bigbench/sums/chosen", "bigbench/sums/written"]
    inside = tmp_path / "bigbench"
    inside.mkdir()
    (inside / "benchmark_tasks").symlink_to(FIXTURE)
    assert list(opened(tmp_path)) == list(opened())


def test_exact_answers_are_not_waited_for_longer_than_a_right_one(tmp_path: Path) -> None:
    assert opened()["bigbench/pet_sounds+generated"].generation.max_new_tokens == 5 + 8  # "a cat"
    assert opened()["bigbench/sums/written"].generation.max_new_tokens == 64  # its regex may skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tasks": ["pet_sound"]}, "did you mean 'pet_sounds'"),
        ({"tasks": ["sums/writen"]}, "did you mean 'sums/written'"),
        ({"preset": "lite"}, "the preset lite also has auto_debugging"),
    ],
)
def test_unknown_names_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        opened(**options)


def with_bleurt(folder: Path, preferred: str) -> Path:
    """A folder with a task that asks for BLEU and BLEURT."""
    values = json.loads((FIXTURE / "paraphrase" / "task.json").read_text())
    changed = {**values, "metrics": ["bleu", "bleurt"], "preferred_score": preferred}
    (folder / "speech").mkdir()
    (folder / "speech" / "task.json").write_text(json.dumps(changed))
    return folder


def test_bleurt_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bleurt, which needs the weights of another model"):
        opened(with_bleurt(tmp_path, "bleurt"))


def test_bleurt_beside_the_preferred_score_is_left_out(tmp_path: Path) -> None:
    (task,) = opened(with_bleurt(tmp_path, "bleu")).values()
    assert task.metrics == ("bleu",)
