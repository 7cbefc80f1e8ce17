"""What is worked out before a run of many tasks grows with their number, not with its square."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brulee.data import corpus as opening
from brulee.data.corpus import open_corpus
from brulee.pipeline.asked import asked_of
from brulee.pipeline.task_metrics import task_metrics
from brulee.recipe import recipe_from_dict


def test_tests_are_worked_out_once_however_many_tasks_look_at_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices = {"jinja": "Q {{ q }} ||| {{ a }}", "answer_choices": "yes ||| no"}
    file = tmp_path / "a.jsonl"
    rows = [{"q": f"Is {number} even?", "a": "no" if number % 2 else "yes"} for number in range(40)]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    tasks = [{"source": str(file), "name": str(n), "templates": choices} for n in range(4)]
    metrics = {"evaluate": {"metrics": ["ranked_accuracy", "ranked_accuracy_norm"]}}
    recipe = recipe_from_dict({"data": tasks, **metrics})
    corpus = open_corpus(recipe)
    looked, told = [], opening._tests

    def counted(path: str, *rest: Any) -> Any:
        looked.append(path)
        return told(path, *rest)

    monkeypatch.setattr(opening, "_tests", counted)
    assert len(asked_of(recipe, corpus, task_metrics(recipe, corpus))) == 4
    assert looked == ["0", "1", "2", "3"]
