"""One turn of a chat: its keys, whether it is learned, its text for people.

    {"role": "assistant", "content": "I look.", "tool_calls": '[{"type": "function", ...}]'}

Every value is a string, so that turns of any kind fit in one column. Tool calls are JSON text in
OpenAI's format, except that `arguments` is an object. A key without a value may be null.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Message = dict[str, str]
# The key of a message's loss weight; "0" means that the message is not learned.
WEIGHT = "weight"
CALLS, REASONING = "tool_calls", "reasoning_content"
NAME, CALL_ID = "name", "tool_call_id"
# The keys that a turn may have in addition to its role and content.
FURTHER = (REASONING, CALLS, NAME, CALL_ID)
_as_text = json.JSONEncoder(ensure_ascii=False).encode


def is_learned(message: Mapping[str, str]) -> bool:
    """Whether a message is an assistant turn whose loss weight is not 0."""
    return message["role"] == "assistant" and message.get(WEIGHT) != "0"


def further(message: Mapping[str, str]) -> Message:
    """The non-empty fields of a turn other than its role and content."""
    return {key: message[key] for key in FURTHER if message.get(key)}


def calls_of(message: Mapping[str, str]) -> list[dict[str, Any]]:
    """The tool calls of a turn."""
    return list(json.loads(message.get(CALLS) or "[]"))


def said(message: Mapping[str, str]) -> str:
    """A turn's reasoning, text and calls as one text, for people and to compare rows."""
    calls = [_call(call["function"]) for call in calls_of(message)]
    parts = [message.get(REASONING) or "", message["content"], "\n".join(calls)]
    return "\n\n".join(part.strip() for part in parts if part.strip())


def spoken(message: Mapping[str, str]) -> str:
    """A turn's text with its speaker."""
    name = f" {message[NAME]}" if message.get(NAME) else ""
    return f"{message['role']}{name}: {said(message)}"


def listed(tools: str) -> str:
    """The tools of a chat, one per line with its parameters; "" if there are none."""
    return "\n".join(_listed(tool["function"]) for tool in json.loads(tools or "[]"))


def as_json(value: Any) -> str:
    """A value as JSON text; key order is kept and non-ASCII characters are not escaped."""
    return _as_text(value)


def _call(function: Mapping[str, Any]) -> str:
    return f"{function['name']}({as_json(function['arguments'])})"


def _listed(function: Mapping[str, Any]) -> str:
    about = " ".join(str(function.get("description") or "").split())
    return f"{function['name']}({', '.join(_parameters(function))}){f': {about}' if about else ''}"


def _parameters(function: Mapping[str, Any]) -> Iterator[str]:
    schema = function.get("parameters")
    if isinstance(schema, Mapping):
        properties = schema.get("properties")
        yield from properties if isinstance(properties, Mapping) else schema
