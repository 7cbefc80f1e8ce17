"""One turn of a chat: its keys, whether it is learned, how people read it.

    {"role": "assistant", "content": "I look.", "tool_calls": '[{"type": "function", ...}]'}

Every value is text, so that turns of any kind lie in one column: tool calls are JSON, as an OpenAI
message has them but for `arguments`, which are an object. A key without a value may be null.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Message = dict[str, str]
# The key of a message whose value "0" says that it is read only.
WEIGHT = "weight"
CALLS, REASONING = "tool_calls", "reasoning_content"
NAME, CALL_ID = "name", "tool_call_id"
# What a turn may hold beside its role and its text.
FURTHER = (REASONING, CALLS, NAME, CALL_ID)


def is_learned(message: Mapping[str, str]) -> bool:
    """Whether a message is an answer that is learned where the answers of its chat are."""
    return message["role"] == "assistant" and message.get(WEIGHT) != "0"


def further(message: Mapping[str, str]) -> Message:
    """What a turn holds beside its role and its text."""
    return {key: message[key] for key in FURTHER if message.get(key)}


def calls_of(message: Mapping[str, str]) -> list[dict[str, Any]]:
    """The tool calls of a turn."""
    return list(json.loads(message.get(CALLS) or "[]"))


def said(message: Mapping[str, str]) -> str:
    """What a turn says, for people and to compare rows: its reasoning, its text, its calls."""
    calls = [_call(call["function"]) for call in calls_of(message)]
    parts = [message.get(REASONING) or "", message["content"], "\n".join(calls)]
    return "\n\n".join(part.strip() for part in parts if part.strip())


def spoken(message: Mapping[str, str]) -> str:
    """A turn with its speaker."""
    name = f" {message[NAME]}" if message.get(NAME) else ""
    return f"{message['role']}{name}: {said(message)}"


def listed(tools: str) -> str:
    """The tools of a chat, each on a line with its parameters; "" where there are none."""
    return "\n".join(_listed(tool["function"]) for tool in json.loads(tools or "[]"))


def as_json(value: Any) -> str:
    """A value as JSON text, in its own order and characters."""
    return json.dumps(value, ensure_ascii=False)


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
