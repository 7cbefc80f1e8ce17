"""Converts the tools and tool calls of rows into the format of OpenAI's messages.

A call is {"type": "function", "function": {"name": ..., "arguments": {...}}}, with its other keys
(such as its id); a tool is {"type": "function", "function": {"name": ..., "parameters": ...}}. Rows
may give the inner function object alone, and either as JSON text. Arguments are an object, as the
chat templates of `transformers` expect.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from brulee.data.allowed import check_value
from brulee.data.json_text import distinct, unusable
from brulee.data.messages import CALL_ID, Message, as_json, calls_of
from brulee.errors import InputError

_CALL = '{"name": ..., "arguments": {...}}'
_TOOL = '{"type": "function", "function": {"name": ..., "parameters": ...}}'


def read_calls(value: Any, place: str) -> str:
    """Normalise a turn's calls (one, a list, or JSON text of either) to JSON text of a list.

    Raises InputError naming the place for a value that is not a call, arguments that are not an
    object, and duplicate keys.
    """
    found = parsed(value, place)
    calls = found if isinstance(found, list) else [found]
    if not calls:
        raise InputError(f"{place}: this is not a tool call; a call is {_CALL}.")
    return as_json([_call(call, place) for call in calls])


def read_tools(value: Any, place: str) -> str:
    """Normalise a row's tools to JSON text; "" if there are none.

    Raises InputError naming the place for a value that does not describe a tool.
    """
    found = parsed(value, place) if value else None
    if not found:
        return ""
    if not isinstance(found, list):
        raise InputError(f"{place}: tools are a list, each {_TOOL}.")
    return as_json([_tool(tool, place) for tool in found])


def are_tools(value: Any) -> bool:
    """Whether a value (or the JSON text in it) is a non-empty list of tool descriptions."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return False
    try:
        found = parsed(value, "")
    except InputError:
        return False
    return isinstance(found, list) and bool(found) and all(map(_is_tool, found))


def parsed(value: Any, place: str) -> Any:
    """Parse JSON text; from any other value remove the nulls, with which Arrow pads objects.

    Raises InputError naming the place for text that is not valid JSON.
    """
    if not isinstance(value, str):
        return _without_nulls(value, place)

    def refuse(constant: str) -> NoReturn:
        raise InputError(f"{place}: not valid JSON: {constant} is not a JSON number.")

    def finite(number: str) -> float:
        found = float(number)
        if math.isinf(found):
            raise InputError(f"{place}: the number {number} is too large to be held.")
        return found

    try:
        found = json.loads(
            value, object_pairs_hook=distinct, parse_constant=refuse, parse_float=finite
        )
    except json.JSONDecodeError as error:
        shown = value if len(value) <= 40 else f"{value[:37]}..."
        raise InputError(
            f"{place}: {shown!r} is not valid JSON: {error.msg} (column {error.colno})."
        ) from None
    except (ValueError, RecursionError) as error:
        raise unusable(place, error) from None
    check_value(found, lambda _: place)
    return found


def check_results(messages: Sequence[tuple[int, Message]], place: str) -> None:
    """Reject tool results without a preceding call.

    `messages` are the turns with their numbers. Raises InputError naming the turn.
    """
    called: list[dict[str, Any]] = []
    left = 0
    for number, message in messages:
        if message["role"] == "assistant":
            called = calls_of(message)
            left = len(called)
        elif message["role"] == "tool" and called:
            left -= 1
            where = f"{place}, turn {number}"
            if left < 0:
                raise InputError(
                    f"{where}: more results than the {len(called)} of the calls before it."
                )
            ids = [call["id"] for call in called if call.get("id")]
            given = message.get(CALL_ID)
            if given and ids and given not in ids:
                raise InputError(
                    f"{where}: {CALL_ID} {given!r} is not the id of any call before it; there "
                    f"{'is' if len(ids) == 1 else 'are'} {', '.join(map(repr, ids))}."
                )


def _call(call: Any, place: str) -> dict[str, Any]:
    if not isinstance(call, Mapping):
        raise InputError(f"{place}: {_short(call)} is not a tool call, which is {_CALL}.")
    wrapped = "function" in call
    function = call["function"] if wrapped else call
    if not isinstance(function, Mapping) or not _is_name(function.get("name")):
        raise InputError(f"{place}: a tool call has a name: {_CALL}; this is {_short(call)}.")
    if call.get("type", "function") != "function":
        raise InputError(f"{place}: the type {call['type']!r} of a call; valid: function.")
    name, given = function["name"], function.get("arguments")
    # Nulls in JSON text are real ones, not padding.
    text = isinstance(given, str)
    arguments = parsed(given, f"{place}, arguments of {name!r}") if text else given
    if not isinstance(arguments, dict):
        raise InputError(
            f"{place}: the arguments of {name!r} are an object (or JSON text of one), which is "
            f"empty, {{}}, where there are none; this is {_short(given)}."
        )
    if wrapped:
        return {**_held(call), "function": {**_held(function), "arguments": arguments}}
    own = {"id": call["id"]} if call.get("id") else {}
    return {**own, "type": "function", "function": {"name": name, "arguments": arguments}}


def _tool(tool: Any, place: str) -> dict[str, Any]:
    if not isinstance(tool, Mapping):
        raise InputError(f"{place}: {_short(tool)} does not describe a tool; one is {_TOOL}.")
    if tool.get("type", "function") != "function":
        raise InputError(f"{place}: the type {tool['type']!r} of a tool; valid: function.")
    bare = {key: value for key, value in tool.items() if key != "type"}
    found = dict(tool) if "function" in tool else {"type": "function", "function": bare}
    function = found["function"]
    if not isinstance(function, Mapping) or not _is_name(function.get("name")):
        raise InputError(f"{place}: a tool has a name: {_TOOL}; this is {_short(tool)}.")
    return found


def _is_tool(value: Any) -> bool:
    return isinstance(value, dict) and ("function" in value or {"name", "parameters"} <= {*value})


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _without_nulls(value: Any, place: str) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_nulls(item, place) for k, item in _held(value).items()}
    if isinstance(value, list):
        return [_without_nulls(item, place) for item in value]
    if value is not None and not isinstance(value, str | int | float):
        raise InputError(f"{place}: {value!r} is not a JSON value.")
    return value


def _held(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if item is not None}


def _short(value: Any) -> str:
    text = "missing" if value is None else as_json(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
