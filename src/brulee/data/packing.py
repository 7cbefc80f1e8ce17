"""Stores tools and tool calls as JSON text, since an Arrow column has one type.

The arguments of calls differ in their keys. As Arrow structs, every call would have the keys of all
calls, padded with nulls, and an argument with numbers and strings would have no type at all. So has
the text of a turn that is a list of parts in one turn and a text in another, as OpenAI allows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brulee.data.messages import CALLS, as_json

TOOLS, FUNCTION_CALL = "tools", "function_call"


def packed(records: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The records with tools and the tool calls in chats as JSON text, and texts in parts joined.

    Records without chats (lists of turns with a role) are returned unchanged.
    """
    chats = {name for record in records for name, value in record.items() if _is_chat(value)}
    if not chats:
        return records
    tools = {
        name
        for record in records
        for name, value in record.items()
        if isinstance(value, list) and (name == TOOLS or _are_tools(value)) and name not in chats
    }
    return [
        {
            name: _chat(value) if name in chats else _text(value) if name in tools else value
            for name, value in record.items()
        }
        for record in records
    ]


def _is_chat(value: Any) -> bool:
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and ("role" in first or "from" in first)


def _are_tools(value: Sequence[Any]) -> bool:
    return bool(value) and all(
        isinstance(tool, dict)
        and (isinstance(tool.get("function"), dict) or {"name", "parameters"} <= tool.keys())
        for tool in value
    )


def _chat(value: Any) -> Any:
    return [_turn(turn) for turn in value] if isinstance(value, list) else value


def _turn(turn: Any) -> Any:
    if not isinstance(turn, dict) or not (
        CALLS in turn or FUNCTION_CALL in turn or isinstance(turn.get("content"), list)
    ):
        return turn
    called = {k: _text(v) if k in (CALLS, FUNCTION_CALL) else v for k, v in turn.items()}
    parts = called.get("content")
    return called | {"content": joined(parts)} if isinstance(parts, list) else called


def joined(parts: list[Any]) -> Any:
    """The text of a turn's parts; the parts, if one is something other than text."""
    texts = [part.get("text") or "" for part in parts if is_text(part)]
    return "".join(texts) if len(texts) == len(parts) else parts


def is_text(part: Any) -> bool:
    """Whether a part of a turn's content is text."""
    return (
        isinstance(part, dict)
        and part.get("type") == "text"
        and isinstance(part.get("text", 0), str | None)
    )


def turn_beside_text(value: Any) -> int | None:
    """The number of the first turn of a chat that holds something other than text, if any."""
    if not _is_chat(value):
        return None
    for number, turn in enumerate(value, start=1):
        parts = turn.get("content") if isinstance(turn, dict) else None
        if isinstance(parts, list) and not all(map(is_text, parts)):
            return number
    return None


def _text(value: Any) -> Any:
    return as_json(value) if isinstance(value, list | dict) else value
