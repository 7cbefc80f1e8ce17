"""Chats come out in one form, and a malformed turn is named by row and number."""

from __future__ import annotations

from typing import Any

import pytest

from brulee.data.conversations import answers, conversations
from brulee.data.sources import Rows
from brulee.errors import InputError


def turns(*spoken: str) -> list[dict[str, str]]:
    """`turns("user: Hi")` is one turn in OpenAI's form."""
    pairs = [turn.split(": ", 1) for turn in spoken]
    return [{"role": role, "content": text} for role, text in pairs]


CALL = turns("user: Weather?", "assistant: look(Rome)", "tool: 21", "assistant: Warm.")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": CALL}, CALL),
        (
            {"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "W"},
                               {"from": "function_call", "value": "f"},
                               {"from": "observation", "value": "o"},
                               {"from": "gpt", "value": "g"}]},
            turns("system: S", "user: W", "assistant: f", "tool: o", "assistant: g"),
        ),
        (
            {"system": "S", "messages": turns("user: a", "assistant: b")},
            turns("system: S", "user: a", "assistant: b"),
        ),
        (
            {"messages": turns("developer: S", "user: a", "assistant: b")},
            turns("system: S", "user: a", "assistant: b"),
        ),
        (
            {"prompt": turns("user: a"), "completion": turns("assistant: b")},
            turns("user: a", "assistant: b"),
        ),
    ],
)  # fmt: skip
def test_every_form_is_read_alike(row: dict[str, Any], expected: list[dict[str, str]]) -> None:
    assert conversations(Rows.of([row])) == [expected]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": turns("user: a", "asistant: b")}, "turn 2: unknown role 'asistant'; did you"),
        ({"messages": turns("user: a", "assistant:  ")}, "the turn of 'assistant' is empty"),
        ({"messages": turns("user: a", "user: b")}, "turn 2: 'user' follows 'user'"),
        ({"messages": turns("assistant: a", "user: b")}, "turn 1: 'assistant' begins the chat"),
        ({"messages": turns("user: a", "system: b")}, "turn 2: 'system' follows 'user'"),
        ({"messages": turns("user: a")}, "the last turn is from 'user'"),
        ({"messages": []}, "has no turns"),
        ({"messages": [{"text": "a"}]}, "a turn has the keys role and content"),
        ({"other": 1}, "no chat here"),
        ({"system": "S", "messages": turns("system: T", "user: a")}, "turn 2: 'system' follows"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "text": None}]}]},
            "something other than text",
        ),
        (
            {"messages": [{"role": "user", "content": "a", "weight": 0}]},
            "turn 1: weight 0",
        ),
        (
            {"messages": [*turns("user: a"),
                          {"role": "assistant", "content": None, "tool_calls": ["f"]}]},
            "a tool call without text",
        ),
    ],
)  # fmt: skip
def test_a_malformed_chat_is_named(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError) as caught:
        conversations(Rows.of([row], "chats.jsonl"))
    assert str(caught.value).startswith("chats.jsonl, row 1")
    assert reason in str(caught.value)


def test_every_answer_or_the_last_comes_with_what_was_said_before() -> None:
    every = answers(CALL, "every")
    assert [(len(e.before), e.answer) for e in every] == [(1, "look(Rome)"), (3, "Warm.")]
    assert list(every[1].before) == CALL[:3]
    assert answers(CALL, "last") == every[1:]
    with pytest.raises(InputError, match="unknown choice of turns 'all'"):
        answers(CALL, "all")
