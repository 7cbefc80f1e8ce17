"""Finds out what a chat template shows of tools, calls and results, by rendering marks.

A template without tool support silently leaves tools out. So a chat is rendered with a mark in
place of each of its parts (once for all chats of the same structure), and parts whose mark is
missing are rejected. The format in which the template takes calls is found the same way: arguments
as an object or JSON text, and null or "" for the missing text next to a call.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from brulee.data.messages import CALL_ID, CALLS, NAME, REASONING, Message, as_json, calls_of
from brulee.errors import InputError

# Exceptions of a template that does not support its input.
FAILURES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_REASONING = (REASONING, "thinking", "reasoning")
_CALLS = "an answer's tool calls"
_MOST_TOOLS = 2  # only so many tools are marked


class FramingError(InputError):
    """The model's framing does not support documents of this kind, whatever the row's text."""


class ToolFormat(NamedTuple):
    """How calls are passed to a template."""

    text_arguments: bool = False
    null_content: bool = True


FORMS = (ToolFormat(), ToolFormat(null_content=False), ToolFormat(True), ToolFormat(True, False))
# Renders messages, tools (JSON text), with or without a generation prompt; may raise InputError.
Write = Callable[[Sequence[Mapping[str, Any]], str, bool], str]


class ToolTemplate:
    """A chat template's support for tools; `write` renders messages already in its format."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._lost: dict[str, str] = {}

    def taken(self, message: Message) -> dict[str, Any]:
        """A message in the template's format."""
        return self._as_taken(message, self._form or FORMS[0], self._reasoning_key)

    def check(self, messages: Sequence[Message], tools: str) -> None:
        """Raise FramingError for a chat of which the template leaves out any part."""
        marked, marked_tools, marks = _marked(messages, tools)
        key = as_json([marked, marked_tools])
        if key not in self._lost:
            called = any(message.get(CALLS) for message in messages)
            unknown = called and not self.shows_calls
            self._lost[key] = _CALLS if unknown else self._first_lost(marked, marked_tools, marks)
        if self._lost[key]:
            raise FramingError(
                f"the model's chat template does not show {self._lost[key]}, which would be lost; "
                "use a model whose template does, set model.chat_template to a file that does, or "
                "write it into a turn's text."
            )

    def _first_lost(self, marked: Sequence[Message], tools: str, marks: Mapping[str, str]) -> str:
        text = self._write([self.taken(m) for m in marked], tools, False)
        return next((what for mark, what in marks.items() if mark not in text), "")

    @functools.cached_property
    def shows_calls(self) -> bool:
        """Whether the template shows tool calls in any form."""
        return self._form is not None

    @functools.cached_property
    def _form(self) -> ToolFormat | None:
        return next((form for form in FORMS if self._shows(form)), None)

    def _shows(self, form: ToolFormat) -> bool:
        marks = _Marks()
        messages = [_USER, _call_turn(marks, ("argument",))]
        text = self._tried([self._as_taken(m, form, REASONING) for m in messages])
        said = [self._as_taken(m, form, REASONING) for m in (_USER, _ANSWER)]
        # Python's repr of a dict and of None, instead of JSON.
        odd = any(f"'{mark}'" in text for mark in marks.found) or text.count("None") > self._tried(
            said
        ).count("None")
        return all(mark in text for mark in marks.found) and not odd

    @functools.cached_property
    def _reasoning_key(self) -> str:
        """The key under which the template shows reasoning; the usual one if it shows none."""
        marks = _Marks()
        turn = {**_ANSWER, REASONING: marks.new("")}
        for key in _REASONING:
            text = self._tried([self._as_taken(m, FORMS[0], key) for m in (_USER, turn)])
            if turn[REASONING] in text:
                return key
        return REASONING

    def _tried(self, messages: Sequence[Mapping[str, Any]]) -> str:
        try:
            return self._write(messages, "", False)
        except InputError:
            return ""

    def _as_taken(self, message: Message, form: ToolFormat, reasoning_key: str) -> dict[str, Any]:
        found: dict[str, Any] = {key: message[key] for key in ("role", "content")}
        if message.get(REASONING):
            found[reasoning_key] = message[REASONING]
        if message.get(CALLS):
            found[CALLS] = [_call_taken(call, form) for call in calls_of(message)]
            found["content"] = message["content"] or (None if form.null_content else "")
        about = {key: message[key] for key in (NAME, CALL_ID) if message.get(key)}
        return found | about


_USER = {"role": "user", "content": "?"}
_ANSWER = {"role": "assistant", "content": "!"}


def needs_tools(messages: Sequence[Message], tools: str) -> bool:
    """Whether a chat has more than text: tools, calls, results or reasoning."""
    return bool(tools) or any(
        message["role"] == "tool" or message.get(CALLS) or message.get(REASONING)
        for message in messages
    )


def example() -> list[Message]:
    """A question and an answer that calls a tool."""
    return [_USER, _call_turn(_Marks(), ("argument",))]


class _Marks:
    """Words that occur in no template, each with the part that it marks."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def new(self, what: str) -> str:
        """A new mark of nine letters and digits, the length that Mistral requires of call ids."""
        mark = f"brulee{len(self.found):03d}"
        self.found[mark] = what
        return mark


def _marked(
    messages: Sequence[Message], tools: str
) -> tuple[list[Message], str, Mapping[str, str]]:
    """A chat with marks for its parts; without reasoning, as templates drop that of old turns."""
    marks = _Marks()
    marked = list(_marked_turns(messages, marks))
    described = [_tool(marks) for _ in json.loads(tools or "[]")[:_MOST_TOOLS]]
    return marked, as_json(described) if described else "", marks.found


def _marked_turns(messages: Sequence[Message], marks: _Marks) -> Iterator[Message]:
    ids: dict[str, str] = {}
    for message in messages:
        role, content = message["role"], message["content"]
        calls = calls_of(message)
        if calls:
            what = "the text beside an answer's tool calls"
        else:
            what = "what a tool returned" if role == "tool" else f"the text of {role!r}"
        turn: Message = {"role": role, "content": marks.new(what) if content else ""}
        if calls:
            turn[CALLS] = as_json(
                [_call(marks, call, ids, number > 0) for number, call in enumerate(calls)]
            )
        if message.get(NAME):
            turn[NAME] = "brulee"
        if message.get(CALL_ID):
            turn[CALL_ID] = ids.get(message[CALL_ID], "bruleexyz")
        yield turn


def _call(
    marks: _Marks, call: Mapping[str, Any], ids: dict[str, str], further: bool
) -> dict[str, Any]:
    what = "more than one tool call in an answer" if further else _CALLS
    arguments = {marks.new(what): marks.new(what)} if call["function"]["arguments"] else {}
    found: dict[str, Any] = {}
    if call.get("id"):
        found["id"] = ids[call["id"]] = f"brulee{len(ids):02d}x"
    return found | {
        "type": "function",
        "function": {"name": marks.new(what), "arguments": arguments},
    }


def _call_turn(marks: _Marks, arguments: Sequence[str]) -> Message:
    function = {"name": "?", "arguments": dict.fromkeys(arguments)}
    call = _call(marks, {"id": "0", "function": function}, {}, False)
    return {"role": "assistant", "content": "", CALLS: as_json([call])}


def _tool(marks: _Marks) -> dict[str, Any]:
    name, about, parameter = (marks.new("the descriptions of tools") for _ in range(3))
    schema = {"type": "string", "description": "?"}
    properties = {"type": "object", "properties": {parameter: schema}, "required": [parameter]}
    return {
        "type": "function",
        "function": {"name": name, "description": about, "parameters": properties},
    }


def _call_taken(call: Mapping[str, Any], form: ToolFormat) -> dict[str, Any]:
    if not form.text_arguments:
        return dict(call)
    function = call["function"]
    return {**call, "function": {**function, "arguments": as_json(function["arguments"])}}
