"""Conversion of a request's messages and tools to the project's chats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from brulee.data.messages import CALL_ID, CALLS, NAME, REASONING, Message, as_json
from brulee.data.tool_calls import check_results, read_calls, read_tools
from brulee.errors import InputError
from brulee.inference.call_form import HeldCalls
from brulee.serving.failures import ApiError
from brulee.serving.response_format import checked

# OpenAI's newer models call the system's turn "developer".
_ROLES: Final = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_KEYS: Final = {"role", "content", NAME, CALLS, CALL_ID, REASONING}
# Keys of OpenAI's answers, which clients send back with empty values.
_EMPTY: Final = {"refusal", "annotations", "audio", "function_call"}


def read_messages(given: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Turns of a chat. Raises ApiError naming the message, numbered from 0, and its key."""
    if not given:
        raise ApiError(400, "messages is empty: nothing to answer.", "messages")
    found = [_message(message, f"messages[{i}]") for i, message in enumerate(given)]
    try:
        check_results(list(enumerate(found)), "messages")
    except InputError as error:
        raise ApiError(400, str(error), "messages") from None
    return found


def read_tool_list(given: Sequence[Mapping[str, Any]] | None) -> str:
    """Tools as JSON text, "" without any. Raises ApiError for an invalid tool."""
    try:
        return read_tools([dict(tool) for tool in given or []], "tools")
    except InputError as error:
        raise ApiError(400, str(error), "tools") from None


def called(tools: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """The names of tools that were read by `read_tool_list`."""
    return frozenset(tool.get("function", tool)["name"] for tool in tools)


def held_calls(
    tools: Sequence[Mapping[str, Any]], due: str | None, one: bool, in_json: bool
) -> HeldCalls | None:
    """The constraints on an answer's tool calls; None if calls are unconstrained.

    `due` as in `ChatRequest.tool_due`; `in_json`: an answer without calls is JSON. Raises ApiError
    for parameters that are not a schema, and for a required tool that does not exist.
    """
    strict = any(tool.get("function", tool).get("strict") for tool in tools)
    if not tools or not (strict or in_json or due is not None):
        return None
    names = called(tools)
    if due and due not in names:
        raise ApiError(
            400,
            f"tool_choice names {due!r}; the tools are {', '.join(sorted(names))}.",
            "tool_choice",
        )
    found = {
        name: _parameters(tool.get("function", tool), f"tools[{number}].function.parameters")
        for number, tool in enumerate(tools)
        if due in (None, "", name := tool.get("function", tool)["name"])
    }
    besides = "" if due is not None else "json" if in_json else "text"
    return HeldCalls(found, one, besides)


def _parameters(function: Mapping[str, Any], place: str) -> tuple[dict[str, Any], str]:
    """The schema of a tool's arguments, and its place; without one, no arguments, as at OpenAI."""
    given = function.get("parameters") or {"additionalProperties": False}
    if isinstance(given, Mapping):
        given = {"type": "object", **given}
        if given["type"] != "object":
            raise ApiError(400, f'{place}.type must be "object", as arguments are objects.', place)
    return checked(given, place)


def _message(given: Mapping[str, Any], place: str) -> Message:
    for key in given:
        if key not in _KEYS and not (key in _EMPTY and not given[key]):
            raise ApiError(400, f"{place}: the key {key!r} is not supported.", f"{place}.{key}")
    role = given.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise ApiError(
            400,
            f"{place}.role = {role!r} is not valid; it is one of {', '.join(_ROLES)}.",
            f"{place}.role",
        )
    found: Message = {"role": _ROLES[role], "content": _content(given, place)}
    for key in (NAME, CALL_ID, REASONING):
        if given.get(key) is not None:
            found[key] = _text(given[key], f"{place}.{key}")
    if given.get(CALLS):
        if role != "assistant":
            raise ApiError(400, f"{place}: only an assistant calls tools.", f"{place}.{CALLS}")
        try:
            found[CALLS] = read_calls(given[CALLS], f"{place}.{CALLS}")
        except InputError as error:
            raise ApiError(400, str(error), f"{place}.{CALLS}") from None
    return found


def _content(given: Mapping[str, Any], place: str) -> str:
    content = given.get("content")
    if content is None and given.get("role") == "assistant" and given.get(CALLS):
        return ""
    if isinstance(content, list):
        return "".join(_part(part, f"{place}.content[{i}]") for i, part in enumerate(content))
    return _text(content, f"{place}.content")


def _part(part: Any, place: str) -> str:
    if not isinstance(part, Mapping) or part.get("type") != "text" or set(part) - {"type", "text"}:
        shown = as_json(part)[:60]
        raise ApiError(
            400, f'{place} must be {{"type": "text", "text": ...}}; it is {shown}.', place
        )
    return _text(part.get("text"), f"{place}.text")


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise ApiError(400, f"{place} must be a text; it is {as_json(value)[:60]}.", place)
    return value
