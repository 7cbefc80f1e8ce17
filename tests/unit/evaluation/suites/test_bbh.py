"""The prompt is the published file to the letter, an answer what the published rule finds."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from brulee.errors import InputError
from brulee.evaluation.asking import Asked
from brulee.evaluation.scores import task_scores
from brulee.evaluation.suite_run import answered
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


def test_a_limit_asks_the_first_questions_of_each_task() -> None:
    for task in opened():
        assert task.examples(1) == task.examples()[:1] != task.examples()


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


HEAD = "The canary.\n-----\n"
SHOT = "\n\nQ: Is 2 even?\nA: Let's think step by step. It is. So the answer is yes."


@pytest.mark.parametrize(
    ("prompt", "data", "words"),
    [
        (f"Answer.{SHOT}", None, r"navigate[.]txt: its second line must be -----, after that of"),
        (f"{HEAD}Answer.\nQ: no", None, "navigate[.]txt: no solved question"),
        (f"{HEAD}Answer.\n\nQ: Is 2 even?\nA: yes", None, "a solved question without 'Let's think"),
        (f"{HEAD}Answer.{SHOT}", [], "navigate[.]json: a JSON object is expected"),
        (f"{HEAD}Answer.{SHOT}", {"rows": []}, "no column 'examples'; it has rows"),
        (f"{HEAD}Answer.{SHOT}", {"examples": []}, "navigate[.]json: no list of examples"),
        (
            f"{HEAD}Answer.{SHOT}",
            {"examples": [{"input": "a", "target": "b"}, {"input": "a", "target": True}]},
            "navigate[.]json, example 2: input and target must be texts",
        ),
    ],
    ids=["no dashes", "no question", "no reasoning", "a list", "no key", "nothing", "no text"],
)
def test_a_malformed_file_is_named_with_what_it_lacks(
    tmp_path: Path, prompt: str, data: Any, words: str
) -> None:
    (tmp_path / "cot-prompts").mkdir()
    (tmp_path / "cot-prompts" / "navigate.txt").write_text(prompt)
    (tmp_path / "data").mkdir()
    held = {"examples": [{"input": "Is 3 even?", "target": "no"}]} if data is None else data
    (tmp_path / "data" / "navigate.json").write_text(json.dumps(held))
    (task,) = opened(tmp_path, prompt="direct")
    with pytest.raises(InputError, match=words):
        task.examples()


def test_a_folder_without_tasks_says_what_its_files_are_near(tmp_path: Path) -> None:
    (tmp_path / "bbh").mkdir()
    (tmp_path / "bbh" / "navigat.json").write_text("{}")
    with pytest.raises(InputError, match=r"no file of it is named after a task of BBH.*navigate"):
        opened(tmp_path)
    with pytest.raises(InputError, match="the Hub has the questions and not the prompts"):
        BBH.open(None, BBH.Options())


def test_the_average_is_over_tasks_and_partial_while_some_are_missing() -> None:
    scored = {}
    for task, share in zip(opened(), (1.0, 0.25), strict=True):
        examples = task.examples() * 4
        replies = [
            Reply(text=f"So the answer is {e.references[0] if i < share * len(examples) else '?'}.")
            for i, e in enumerate(examples)
        ]
        answers = [
            answered(task, Asked(e, (), (), None, 0), reply, task.judge(e, reply))
            for e, reply in zip(examples, replies, strict=True)
        ]
        scored[task.name] = task_scores(task, answers, 50)
    (macro,) = BBH.aggregates(scored)
    assert macro.interval.value == pytest.approx(0.625)
    assert (macro.task, macro.metric) == ("bbh", "exact_match_macro")
    assert (macro.partial, macro.tasks, macro.of) == (True, 2, 27)
    assert BBH.aggregates({}) == []
