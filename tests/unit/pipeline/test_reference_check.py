"""Notes on scores that would say little about a test's references."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brulee import progress
from brulee.data.corpus import open_corpus
from brulee.pipeline.asked import asked_of
from brulee.pipeline.reference_check import check_references
from brulee.pipeline.task_metrics import task_metrics
from brulee.recipe import recipe_from_dict

TOOLS = [{"type": "function", "function": {"name": "track", "parameters": {"type": "object"}}}]


@pytest.fixture
def notes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """`notes(folder, metrics, rows)`: what is noted of a test of these rows."""
    monkeypatch.setattr(progress, "_enabled", True)

    def noted(folder: Path, metrics: list[str], rows: list[Any]) -> str:
        for part in ("train", "test"):
            named = [row | {"id": f"{part} {n}"} for n, row in enumerate(rows)]
            (folder / f"{part}.jsonl").write_text("\n".join(map(json.dumps, named)))
        data = {"source": str(folder)}
        recipe = recipe_from_dict({"data": data, "evaluate": {"metrics": metrics}})
        corpus = open_corpus(recipe)
        asked = asked_of(recipe, corpus, task_metrics(recipe, corpus))
        capsys.readouterr()
        check_references(corpus, asked)
        return capsys.readouterr().err

    return noted


def chat(n: int, ends_with_call: bool) -> dict[str, Any]:
    call = {"function": {"name": "track", "arguments": json.dumps({"parcel": n})}}
    turns = [
        {"role": "user", "content": f"Where is parcel {n}?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": f"shelf {n}"},
        {"role": "assistant", "content": f"On shelf {n}."},
    ]
    return {"tools": TOOLS, "messages": turns[:2] if ends_with_call else turns}


def test_a_test_in_which_no_scored_answer_calls_a_tool_is_told(notes: Any, tmp_path: Path) -> None:
    never = notes(tmp_path, ["tool_calls"], [chat(n, False) for n in range(4)])
    assert "no scored answer calls a tool, so tool_calls only says" in never
    assert "write a row for each answer" in never
    assert not notes(tmp_path, ["tool_calls"], [chat(n, n == 0) for n in range(4)])
    assert not notes(tmp_path, ["rouge"], [chat(n, False) for n in range(4)])


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("Two and two are four.\n#### 4", True),
        ("Two and two are four. The answer is 4", False),
        ("4", False),
    ],
)
def test_a_final_answer_that_no_reference_marks_is_told(
    notes: Any, tmp_path: Path, answer: str, told: bool
) -> None:
    rows = [{"prompt": f"How much is 2 + 2, asked {n}?", "completion": answer} for n in range(4)]
    said = notes(tmp_path, ["final_answer"], rows)
    assert ("no reference says 'answer is'" in said) == told
