"""Tools and calls come out in one form, whole, and a malformed one is named by row and turn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brulee.data.conversations import alpaca_rows, chat_rows, conversations
from brulee.data.formats import describe, detect, require_templates
from brulee.data.messages import listed, said
from brulee.data.sources import Rows, open_source
from brulee.errors import InputError

USER = {"role": "user", "content": "How warm?"}
# What a table would change: order of keys, a null, a number beside a text, no ASCII, a quote.
ARGUMENTS = {
    "unit": "\N{DEGREE SIGN}C",
    "city": 'Z\u00fcrich "HB"\n',
    "deep": {"b": [1, 2.5, None], "a": None},
}
FUNCTION = {"name": "weather", "arguments": ARGUMENTS}
WRAPPED = {"id": "a1", "type": "function", "function": FUNCTION}
TOOL = {
    "name": "weather",
    "description": "What it is\nlike.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
END = {"role": "assistant", "content": "21."}


def text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def called(call: Any, key: str = "tool_calls") -> dict[str, Any]:
    return {"role": "assistant", "content": None, key: call}


def calls_of(row: dict[str, Any]) -> list[Any]:
    (chat,) = conversations(Rows.of([row]))
    return list(json.loads(chat[1]["tool_calls"]))


@pytest.mark.parametrize(
    ("turn", "id"),
    [
        (called([WRAPPED]), "a1"),
        (called(text([WRAPPED])), "a1"),
        (called([{**WRAPPED, "function": {**FUNCTION, "arguments": text(ARGUMENTS)}}]), "a1"),
        (called([FUNCTION]), None),
        (called(FUNCTION, "function_call"), None),
        (called({**FUNCTION, "arguments": text(ARGUMENTS)}, "function_call"), None),
        ({"from": "function_call", "value": text(FUNCTION)}, None),
        ({"from": "function_call", "value": text([FUNCTION])}, None),
    ],
)
def test_every_form_of_a_call_is_read_whole(turn: dict[str, Any], id: str | None) -> None:
    sharegpt = "from" in turn
    user = {"from": "human", "value": "How warm?"} if sharegpt else USER
    result = (
        {"from": "observation", "value": "21"} if sharegpt else {"role": "tool", "content": "21"}
    )
    end = {"from": "gpt", "value": "21."} if sharegpt else END
    (call,) = calls_of({"conversations" if sharegpt else "messages": [user, turn, result, end]})
    assert call == {**({"id": id} if id else {}), "type": "function", "function": FUNCTION}
    assert text(call["function"]["arguments"]) == text(ARGUMENTS)


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_calls_of_different_arguments_stand_in_one_file(tmp_path: Path, suffix: str) -> None:
    other = {"name": "sum", "arguments": {"city": 3, "deep": [None]}}
    rows = [{"messages": [USER, called([c]), END | {"role": "tool"}, END], "tools": tools}
            for c, tools in ((WRAPPED, [TOOL]), (other, None))]  # fmt: skip
    rows.append({"messages": [USER, END], "tools": []})
    file = tmp_path / f"chats{suffix}"
    lines = "\n".join(map(text, rows)) if suffix == ".jsonl" else text(rows)
    file.write_text(lines, encoding="utf-8")
    found = conversations(open_source(str(file)))
    assert json.loads(found[0][1]["tool_calls"])[0]["function"] == FUNCTION
    assert json.loads(found[1][1]["tool_calls"])[0]["function"] == other
    made = chat_rows(open_source(str(file)))
    assert made.column("tools") == [text([{"type": "function", "function": TOOL}]), None, None]


def test_prompt_and_completion_may_be_lists_with_calls() -> None:
    row = {"prompt": [USER], "completion": [called([WRAPPED]), END | {"role": "tool"}, END]}
    assert calls_of(row) == [WRAPPED]
    assert detect(Rows.of([{**row, "tools": [TOOL]}])).name == "prompt-completion"


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_splits_with_and_without_tools_are_one_source(tmp_path: Path, suffix: str) -> None:
    rows = [_chat(called([WRAPPED]), END | {"role": "tool"}, END, tools=[TOOL]), _chat(END)]
    for name, found in zip(("train", "test"), rows, strict=True):
        (tmp_path / f"{name}{suffix}").write_text(text([found] if suffix == ".json" else found))
    made = chat_rows(open_source(str(tmp_path)))
    assert [bool(tools) for tools in made.column("tools")] == [True, False]


def test_nulls_that_a_table_fills_calls_up_with_are_none_of_their_arguments(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    calls = [{"type": "function", "function": {"name": n, "arguments": a}}
             for n, a in (("f", {"city": "Rome"}), ("g", {"count": 3}))]  # fmt: skip
    result = {"role": "tool", "content": "21"}
    turns = [{"role": "assistant", "tool_calls": [call]} for call in calls]
    rows = [{"messages": [USER, turn, result, END]} for turn in turns]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "chats.parquet")
    found = conversations(open_source(str(tmp_path / "chats.parquet")))
    assert [json.loads(chat[1]["tool_calls"]) for chat in found] == [[call] for call in calls]


@pytest.mark.parametrize("given", [[TOOL], text([TOOL]), [{"type": "function", "function": TOOL}],
                                   [{"type": "function", **TOOL}]])  # fmt: skip
@pytest.mark.parametrize("column", ["tools", "functions"])
def test_tools_are_read_in_every_form(given: Any, column: str) -> None:
    rows = chat_rows(Rows.of([{"messages": [USER, END], column: given}]))
    assert rows.column("tools") == [text([{"type": "function", "function": TOOL}])]
    assert rows.column("history") == [[]]


@pytest.mark.parametrize(
    ("asked", "answered"),
    [("instruction", "output"), ("prompt", "completion"), ("question", "answer")],
)
def test_a_question_in_a_column_brings_its_tools(asked: str, answered: str) -> None:
    row = {asked: "How warm?", answered: "21.", "tools": text([TOOL])}
    assert json.loads(alpaca_rows(Rows.of([row])).column("tools")[0])[0]["function"] == TOOL
    detected = detect(Rows.of([row]))
    rendered = require_templates(detected).templates[0].render(detected.rows[0])
    assert rendered is not None
    assert rendered.tools == text([{"type": "function", "function": TOOL}])
    late = detect(Rows.of([{**row, "tools": "", answered: f"{n}."} for n in range(60)] + [row]))
    assert "; with tools" in late.why
    other = detect(Rows.of([{**row, "tools": "hammer, saw"}]))
    rendered = require_templates(other).templates[0].render(other.rows[0])
    assert rendered is not None
    assert rendered.tools == ""


def test_rows_keep_what_their_last_turns_hold_beside_text() -> None:
    result = {"role": "tool", "content": "", "name": "weather", "tool_call_id": "a1"}
    last = {**called([WRAPPED]), "content": "I look. ", "reasoning_content": "Hm."}
    chat = [USER, called([WRAPPED]), result, result | {"content": "21"}, last]
    with pytest.raises(InputError, match="turn 4: more results than the 1 of the calls"):
        chat_rows(Rows.of([{"messages": chat}]))
    chat[1] = called([WRAPPED, {**WRAPPED, "id": "b1"}])
    detected = detect(Rows.of([{"messages": chat}]))
    rendered = require_templates(detected).templates[0].render(detected.rows[0])
    assert rendered is not None
    assert rendered.messages[-1] == result | {"content": "21"}
    assert rendered.messages[-2]["content"] == ""
    assert rendered.answer["content"] == "I look."
    assert rendered.answer["reasoning_content"] == "Hm."
    assert json.loads(rendered.answer["tool_calls"]) == [WRAPPED]
    assert rendered.completion == said(rendered.answer)
    assert rendered.completion == f"Hm.\n\nI look.\n\nweather({text(ARGUMENTS)})"


def test_a_tool_that_returns_nothing_is_still_asked() -> None:
    chat = [USER, called([WRAPPED]), {"role": "tool", "content": ""}, END]
    detected = detect(Rows.of([{"messages": chat}]))
    rendered = require_templates(detected).templates[0].render(detected.rows[0])
    assert rendered is not None
    assert (rendered.speaker, rendered.prompt) == ("tool", "")


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_is_read_under_each_of_its_names(key: str) -> None:
    (chat,) = conversations(Rows.of([{"messages": [USER, END | {key: "Hm."}]}]))
    assert chat[1] == END | {"reasoning_content": "Hm."}


def test_what_was_read_is_described_with_its_tools() -> None:
    chat = [USER, called([WRAPPED]), {"role": "tool", "name": "weather", "content": "21"}, END]
    detected = detect(Rows.of([{"messages": chat, "tools": [TOOL]}]))
    shown = describe(detected, detected.rows[0])
    assert "of which every one is learned; with tools)" in shown
    assert "  tools: weather(city): What it is like.\n" in shown
    assert 'assistant: weather({"unit"' in shown
    assert listed("") == ""


def _chat(*turns: dict[str, Any], **columns: Any) -> dict[str, Any]:
    return {"messages": [USER, *turns], **columns}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (_chat(called(["f"])), "turn 2: \"f\" is not a tool call"),
        (_chat(called("f(Rome)")), "turn 2: 'f(Rome)' is not valid JSON"),
        (_chat(called([{"arguments": {}}])), "turn 2: a tool call has a name"),
        (_chat(called([{"name": "f"}])), "the arguments of 'f' are an object"),
        (_chat(called([{"name": "f", "arguments": "Rome"}])), "turn 2, arguments of 'f': 'Rome'"),
        (_chat(called([{"name": "f", "arguments": "[1]"}])), "the arguments of 'f' are an object"),
        (_chat(called([{"name": "f", "arguments": '{"a": 1, "a": 2}'}])), "'a' is given twice"),
        (_chat(called([{"name": "f", "arguments": '{"a": NaN}'}])), "NaN is not a JSON number"),
        (_chat(called([{"name": "f", "arguments": '{"a": "\\u0000"}'}])), "a NUL character"),
        (_chat(called([{"name": "f", "arguments": '{"a": "\\ud800"}'}])), "a lone surrogate"),
        (_chat(called([{**WRAPPED, "type": "code"}])), "the type 'code' of a call"),
        (_chat({**USER, "tool_calls": [FUNCTION]}), "a tool call in a turn of 'user'"),
        (_chat({"role": "assistant", "content": "a", "thinking": "b", "reasoning": "c"}),
         "turn 2: two different texts of reasoning"),
        (_chat({**END, "thinking": ["b"]}), "turn 2: the reasoning must be text, not list"),
        (_chat(called([WRAPPED]), {"role": "tool", "content": "21", "tool_call_id": "b2"}, END),
         "turn 3: tool_call_id 'b2' is not the id of any call before it; there is 'a1'"),
        (_chat(END, tools="hammer"), "column 'tools': 'hammer' is not valid JSON"),
        (_chat(END, tools=["hammer"]), "\"hammer\" does not describe a tool"),
        (_chat(END, tools='{"name": "f"}'), "tools are a list"),
        (_chat(END, tools=[{"description": "f"}]), "a tool has a name"),
        (_chat(END, tools=[{"type": "code_interpreter"}]), "the type 'code_interpreter' of a tool"),
    ],
)  # fmt: skip
def test_a_malformed_call_or_tool_is_named(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError) as caught:
        chat_rows(Rows.of([row], "chats.jsonl"))
    assert str(caught.value).startswith("chats.jsonl, row 1, ")
    assert reason in str(caught.value)


def test_a_function_call_that_is_no_json_is_named() -> None:
    chat = [("human", "a"), ("function_call", "look(Rome)"), ("observation", "b"), ("gpt", "c")]
    row = {"conversations": [{"from": who, "value": what} for who, what in chat]}
    with pytest.raises(InputError, match=r"row 1, turn 2: 'look\(Rome\)' is not valid JSON"):
        conversations(Rows.of([row]))
