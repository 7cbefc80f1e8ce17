"""A format is not recognised where it would leave out what else a row asks or answers."""

from __future__ import annotations

from typing import Any

import pytest

from brulee.data.formats import TABLE, detect, require_templates
from brulee.data.rows import Rows
from brulee.data.table_hints import advice
from brulee.errors import InputError

SAID = ["Hi", "Hello"]


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "Answer.", "question": "2 + 2?", "answer": "4"},
        {"instruction": "Does it follow?", "premise": "a", "hypothesis": "b", "answer": "yes"},
        {"instruction": "Which city?", "passage": "In Lyon.", "answer": "Lyon"},
        {"instruction": "Which?", "A": "ice", "B": "fire", "answer": "B"},
        {"prompt": "Who?", "context": "Ann came.", "response": "Ann"},
        {"conversation": SAID, "summary": "A greeting."},
        {"messages": SAID, "label": "polite"},
        {"contents": SAID, "id": 1},
        {"message_id": 2, "parent_id": None, "text": "Hi", "role": "customer"},
    ],
)
def test_rows_that_hold_more_than_a_format_reads_are_a_table(row: dict[str, Any]) -> None:
    assert detect(Rows.of([row])).name == TABLE


@pytest.mark.parametrize(
    ("row", "prompt", "completion"),
    [
        ({"question": "2 + 2?", "answer": "4", "contents": SAID}, "2 + 2?", "4"),
        ({"prompt": "Who?", "response": "Ann came.", "answer": "Ann"}, "Who?", "Ann came."),
        ({"query": "Who?", "response": "Ann came.", "answer": "Ann"}, "Who?", "Ann came."),
        ({"question": "2 + 2?", "solution": "It is 4.", "answer": "4"}, "2 + 2?", "4"),
        ({"question": "2 + 2?", "answer": "4", "a": 2, "b": 2}, "2 + 2?", "4"),
        ({"problem": "2 + 2?", "solution": "It is 4.", "answer": "4"}, "2 + 2?", "It is 4."),
    ],
)
def test_the_usual_pair_is_read_beside_further_columns(
    row: dict[str, Any], prompt: str, completion: str
) -> None:
    detected = detect(Rows.of([row]))
    rendered = require_templates(detected).templates[0].render(detected.rows[0])
    assert rendered is not None
    assert (detected.name, rendered.prompt, rendered.completion) == ("pair", prompt, completion)


def test_texts_that_are_summarised_are_not_called_chats_to_learn() -> None:
    row = {"dialog": SAID, "summary": "A greeting."}
    assert "holds chats" not in advice(Rows.of([row]), [row])
    assert "holds chats" in advice(Rows.of([{"dialog": SAID}]), [{"dialog": SAID}])


def test_a_system_message_in_an_object_of_any_form_is_read_or_refused() -> None:
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    detected = detect(Rows.of([{"system": {"text": "Be brief."}, "messages": chat}]))
    assert detected.rows[0]["history"] == [{"role": "system", "content": "Be brief."}]
    with pytest.raises(InputError, match="something other than text"):
        detect(Rows.of([{"system": {"rule": "Be brief."}, "messages": chat}]))


@pytest.mark.parametrize(
    "row",
    [
        {"Prompt": "Hi", "Completion": "Go away.", "Label": False},
        {"Prompt": "Hi", "Response": "Hello", "Chosen": "Hello", "Rejected": "Go away."},
    ],
)
def test_preferences_are_refused_in_any_case(row: dict[str, Any]) -> None:
    assert detect(Rows.of([row])).name == "preference"


@pytest.mark.parametrize("beside", [{"inlineData": {"data": "x"}}, {"image": "x.png"}])
def test_an_image_beside_a_text_is_not_dropped(beside: dict[str, Any]) -> None:
    parts = [{"text": "What is it?"} | beside]
    answer = [{"text": "A dog.", "thoughtSignature": "x"}]
    chat = [{"role": "user", "parts": parts}, {"role": "model", "parts": answer}]
    with pytest.raises(InputError, match="turn 1: the content holds something other than text"):
        detect(Rows.of([{"contents": chat}]))


def test_a_thought_is_not_learned_as_said() -> None:
    parts = [{"text": "Hm.", "thought": True}, {"text": "Hello", "thought": False}]
    chat = [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": parts}]
    with pytest.raises(InputError, match="row 1, turn 2: a part is marked as a thought"):
        detect(Rows.of([{"contents": chat}]))
    chat[1]["parts"] = parts[1:]
    assert detect(Rows.of([{"contents": chat}])).rows[0]["completion"] == "Hello"
