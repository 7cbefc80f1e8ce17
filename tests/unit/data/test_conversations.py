"""Chats come out in one form, and a malformed turn is named by row and number."""

from __future__ import annotations

from typing import Any

import pytest

from brulee.data.conversations import alpaca_rows, chat_rows, conversations
from brulee.data.formats import detect, left_out
from brulee.data.sources import Rows
from brulee.errors import InputError


def turns(*spoken: str) -> list[dict[str, str]]:
    """`turns("user: Hi")` is one turn in OpenAI's form."""
    pairs = [turn.split(": ", 1) for turn in spoken]
    return [{"role": role, "content": text} for role, text in pairs]


BAD = {"role": "assistant", "content": "bad"}
CALL = turns("user: Weather?", "assistant: look(Rome)", "tool: 21", "assistant: Warm.")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": CALL}, CALL),
        (
            {"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "W"},
                               {"from": "gpt", "value": "f"},
                               {"from": "observation", "value": "o"},
                               {"from": "gpt", "value": "g"}]},
            turns("system: S", "user: W", "assistant: f", "tool: o", "assistant: g"),
        ),
        (
            {"system": "S", "messages": turns("user: a", "assistant: b")},
            turns("system: S", "user: a", "assistant: b"),
        ),
        (
            {"messages": turns("system:  ", "user: a", "assistant: b")},
            turns("user: a", "assistant: b"),
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


@pytest.mark.parametrize("mask", [{"weight": 0}, {"train": False}, {"training": False}])
def test_a_masked_answer_is_kept_as_one_that_is_not_learned(mask: dict[str, Any]) -> None:
    good = [{"role": "user", "content": "b"}, {"role": "assistant", "content": "good", "weight": 1}]
    after = [{"role": "user", "content": "c"}, {**BAD, **mask}]
    chat = [{"role": "user", "content": "a", "weight": 0}, {**BAD, **mask}, *good, *after]
    (found,) = conversations(Rows.of([{"messages": chat, "tools": "[]"}]))
    first, masked, *rest = found
    assert masked["weight"] == "0"
    assert [first, *rest] == turns("user: a", "user: b", "assistant: good")


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
        ({"other": 1}, "no chat in this row"),
        ({"system": "S", "messages": turns("system: T", "user: a")}, "turn 2: 'system' follows"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "text": None}]}]},
            "something other than text",
        ),
        (
            {"messages": [*turns("user: a"), {**BAD, "weight": 0}]},
            "every answer of the chat is masked",
        ),
        ({"messages": [*turns("user: a"), {**BAD, "weight": 0.5}]}, "turn 2: weight 0.5 of a turn"),
        ({"messages": [*turns("user: a"), {**BAD, "train": "no"}]}, "turn 2: train: 'no' of a"),
        (
            {"messages": [*turns("user: a"), {**BAD, "training_detail": [{"train": False}]}]},
            "a mask within the turn",
        ),
    ],
)  # fmt: skip
def test_a_malformed_chat_is_named(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError) as caught:
        conversations(Rows.of([row], "chats.jsonl"))
    assert str(caught.value).startswith("chats.jsonl, row 1")
    assert reason in str(caught.value)


def test_malformed_chats_are_left_out_with_their_reasons() -> None:
    good = turns("user: a", "assistant: b")
    chats = [good, [BAD, *good], good[:1], [*good, *good[1:]], [BAD, *good], good]
    rows = Rows.of([{"messages": chat, "tools": "[]"} for chat in chats], "chats.jsonl")
    with pytest.raises(InputError, match=r"row 2, turn 1: .*data.malformed_chats: skip leaves"):
        detect(rows)
    found = detect(rows, malformed_chats="skip")
    assert [found.rows.place(i) for i in range(2)] == ["chats.jsonl, row 1", "chats.jsonl, row 6"]
    assert left_out(found).splitlines() == [
        "chats.jsonl: 4 of 6 chats are malformed and left out:",
        "  2: chats.jsonl, row 2, turn 1: 'assistant' begins the chat, where 'system' or 'user' "
        "has to stand; turns alternate.",
        "  1: chats.jsonl, row 3: the last turn is from 'user', and no turn is an answer.",
        "  1: chats.jsonl, row 4, turn 3: 'assistant' follows 'assistant', where 'user' or 'tool' "
        "has to stand; turns alternate.",
    ]
    assert detect(rows.kept([0, 5]), malformed_chats="skip").malformed == ()


@pytest.mark.parametrize("tools", [None, "a hammer"])  # no description of tools
def test_malformed_histories_are_left_out(tools: str | None) -> None:
    row = {"instruction": "Ask.", "output": "Why?", "tools": tools}
    histories: list[list[list[str]]] = [[["a", "b"]], [["a", ""]], []]
    rows = Rows.of([{**row, "history": history} for history in histories])
    with pytest.raises(InputError, match=r"row 2, history, turn 2: .*malformed_chats: skip leaves"):
        detect(rows)
    found = detect(rows, malformed_chats="skip")
    assert [one.reason for one in found.malformed] == ["the turn of 'assistant' is empty."]
    assert [found.rows.place(i) for i in range(len(found.rows))] == ["rows, row 1", "rows, row 3"]


def test_malformed_tools_and_calls_make_a_chat_malformed() -> None:
    good = turns("user: a", "assistant: b")
    call = [good[0], {"role": "assistant", "content": "", "tool_calls": '[{"name": 1}]'}]
    rows = Rows.of(
        [
            {"messages": good, "tools": '[{"name": "look"}]'},
            {"messages": good, "tools": '[{"called": "look"}]'},
            {"messages": call, "tools": None},
        ]
    )
    found = detect(rows, malformed_chats="skip")
    assert [one.place for one in found.malformed] == ["rows, row 2", "rows, row 3"]
    assert len(found.rows) == 1


def test_a_file_without_a_readable_chat_is_an_error() -> None:
    rows = Rows.of([{"messages": [BAD]}, {"messages": turns("user: a")}])
    with pytest.raises(InputError, match=r"^rows, row 1, turn 1: 'assistant' begins the chat"):
        detect(rows, malformed_chats="skip")


def test_chats_become_rows_with_a_last_question_and_what_was_said_before() -> None:
    chats = [turns("system: S", "user: a ", "assistant: b", "user: c", "assistant:  d\n"), CALL]
    rows = chat_rows(Rows.of([{"messages": chat, "id": n} for n, chat in enumerate(chats)]))
    assert rows[0] == {
        "prompt": "c",
        "completion": "d",
        "history": turns("system: S", "user: a", "assistant: b"),
        "speaker": "user",
        "id": 0,
    }
    assert (rows[1]["prompt"], rows[1]["speaker"]) == ("21", "tool")
    assert rows[1]["history"] == CALL[:2]


def test_chats_of_one_question_need_no_history() -> None:
    rows = chat_rows(Rows.of([{"messages": turns("user: a", "assistant: b")}]))
    assert rows.columns == ["prompt", "completion"]


@pytest.mark.parametrize("history", ["What came before.", None, [{"role": "user"}], 2.5])
def test_a_chats_own_column_called_history_is_none_of_its_turns(history: Any) -> None:
    row = {"messages": turns("user: a", "assistant: b"), "history": history, "speaker": "Ann"}
    rows = chat_rows(Rows.of([row]))
    assert rows.columns == ["prompt", "completion"]


def test_alpacas_history_becomes_turns() -> None:
    row = {"system": "S", "history": [["a", "b "]], "instruction": "c", "output": "d"}
    rows = alpaca_rows(Rows.of([row, {**row, "system": None, "history": []}]))
    assert rows[0]["history"] == turns("system: S", "user: a", "assistant: b")
    assert rows[1]["history"] == []
    assert "system" not in rows.columns


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        ([["a", "b"], ["c"]], "row 2: 'history' has to be a list"),
        ([["a", ""]], "row 2, history, turn 2: the turn of 'assistant' is empty"),
    ],
)
def test_a_malformed_history_is_named(history: list[list[str]], reason: str) -> None:
    rows = [{"history": [["a", "b"]], "instruction": "c", "output": "d"}]
    rows.append({**rows[0], "history": history})
    with pytest.raises(InputError, match=reason):
        alpaca_rows(Rows.of(rows, "alpaca.json"))
