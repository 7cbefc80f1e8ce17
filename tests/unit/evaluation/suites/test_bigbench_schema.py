"""A malformed task.json is refused with its file, and the key or example that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brulee.errors import InputError
from brulee.evaluation.suites.bigbench_schema import read_task

GOOD: dict[str, Any] = {
    "canary": "",
    "name": "toy",
    "description": "",
    "keywords": [],
    "metrics": ["exact_str_match"],
    "preferred_score": "exact_str_match",
    "examples": [{"input": "1", "target": "one", "comment": {"any": "thing"}}],
}


def read(folder: Path, text: str) -> Any:
    folder.mkdir()
    (folder / "task.json").write_text(text, encoding="utf-8")
    return read_task(folder, "toy")["toy"]


def test_defaults_are_the_published_ones(tmp_path: Path) -> None:
    task = read(tmp_path / "toy", json.dumps({**GOOD, "contributors": ["someone"]}))
    assert task.example_input_prefix == "\nQ: "
    assert task.example_output_prefix == "\nA: "
    assert task.choice_prefix == "\n  choice: "
    assert task.few_shot_example_separator == "\n"
    assert task.extraction == r"[^\.\?\!\;\n]+"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": None}, "toy/task.json: name"),
        ({"metrics": ["exact_match"]}, "did you mean 'exact_str_match'"),
        ({"preferred_score": "rouge"}, "unknown preferred_score 'rouge'"),
        ({"ouput_regex": "x"}, "did you mean 'output_regex'"),
        ({"output_regex": "("}, "output_regex is not a regular expression"),
        ({"output_regex": "(a)(b)"}, "output_regex has 2 groups"),
        ({"examples": []}, "examples"),
        ({"examples": [{"target": "x"}]}, "'examples.0.input' is required"),
        ({"examples": [{"input": "1"}]}, "example 1: no target, which exact_str_match needs"),
        ({"examples": [{"input": "1", "target": []}]}, "example 1: neither a target"),
        (
            {"metrics": ["multiple_choice_grade"]},
            "example 1: no target_scores, which multiple_choice_grade needs",
        ),
        (
            {
                "metrics": ["multiple_choice_grade"],
                "examples": [{"input": "1", "target_scores": {"a": 0, "b": 0}}],
            },
            "all choices have the same target_scores",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(tmp_path / "toy", json.dumps({**GOOD, **changed}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"name": \n oops}', "line 2: not valid JSON"),
        ("[]", "a task is a JSON object"),
        ("[" * 100_000, "not usable JSON: nested too deeply"),
    ],
)
def test_what_is_no_task_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(tmp_path / "toy", text)


def test_a_container_without_subtasks_is_refused(tmp_path: Path) -> None:
    header = {key: GOOD[key] for key in ("canary", "name", "description", "keywords")}
    with pytest.raises(InputError, match="neither examples nor a subfolder"):
        read(tmp_path / "toy", json.dumps(header))
