"""The prompt is the published file to the letter, an answer what the published rule finds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from brulee.errors import InputError
from brulee.evaluation.suites import suite
from brulee.evaluation.suites.bbh import TASKS, extract
from brulee.evaluation.tasks import Example, Reply, SuiteTask

FIXTURE = Path(__file__).parents[3] / "fixtures" / "bbh"
BBH = suite("bbh")
REAL = pytest.mark.skipif("BRULEE_REAL_DATA" not in os.environ, reason="BRULEE_REAL_DATA not set")


def opened(data: Path = FIXTURE, **options: Any) -> list[SuiteTask]:
    return BBH.open(data, BBH.Options(**options))


def right(task: SuiteTask, example: Example, text: str) -> float:
    return task.judge(example, Reply(text=text)).statistics["exact_match"][0]


def test_the_prompt_is_the_file_without_its_first_two_lines() -> None:
    (task, _) = opened()
    example = task.examples()[0]
    file = (FIXTURE / "cot-prompts" / "navigate.txt").read_text()
    published = file.split("\n", 2)[2]
    asked = "\n\nQ: Take 5 steps. Turn around. Take 5 steps.\nOptions:\n- Yes\n- No\nA: "
    assert example.context() == f"{published}{asked}Let's think step by step."
    assert len(example.shots) == 3


def test_a_capital_q_stops_nothing_and_the_next_question_does() -> None:
    generation = opened()[0].generation
    assert generation is not None
    assert generation.stop == ("\n\nQ:",)


def test_direct_prompts_keep_the_answers_and_no_reasoning() -> None:
    example = opened(prompt="direct")[0].examples()[0]
    assert example.shots[1] == "\n\nQ: Take 3 steps. Take 1 step.\nOptions:\n- Yes\n- No\nA: No"
    assert example.question.endswith("- No\nA:")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (" First 2 - 2 = 0. So the answer is Yes.", "Yes"),
        ("The answer is (A). No: the answer is (B).", "(B)"),
        (" Yes", "Yes"),
        ("So the answer is ash elm oak.\n", "ash elm oak"),
        ("So the answer is yes.", "yes"),
    ],
)
def test_the_answer_is_what_follows_the_last_phrase(text: str, answer: str) -> None:
    assert extract(text) == answer


def test_gold_answers_score_one_and_others_do_not() -> None:
    for task in opened():
        for example in task.examples():
            (answer,) = example.references
            assert right(task, example, f" Because. So the answer is {answer}.") == 1
            assert right(task, example, f" So the answer is {answer.swapcase()}.") == 0


def test_there_are_27_tasks() -> None:
    assert len(set(TASKS)) == 27


def test_wrong_names_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'navigate'"):
        opened(tasks=["navigat"])
    (missing,) = opened(tasks=["snarks"])
    with pytest.raises(InputError, match=r"snarks[.]txt: no such file"):
        missing.examples()


@REAL
def test_the_published_files_are_read_whole() -> None:
    data = Path(os.environ["BRULEE_REAL_DATA"]) / "bbh"
    tasks = opened(data)
    assert len(tasks) == 6
    for task in tasks:
        examples = task.examples()
        assert len(examples) in (187, 250)
        assert all(len(example.shots) == 3 for example in examples)
        assert all(right(task, e, f"So the answer is {e.references[0]}.") == 1 for e in examples)
