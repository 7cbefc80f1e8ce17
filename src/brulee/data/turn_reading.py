"""Reads a turn of a chat, in any of the forms that data files have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from brulee.data.messages import CALL_ID, CALLS, NAME, REASONING, WEIGHT, Message
from brulee.data.packing import FUNCTION_CALL
from brulee.data.tool_calls import read_calls
from brulee.data.turn_names import KEYS, ROLES
from brulee.errors import InputError, unknown

PAIR, SPEAKERS = ("input", "output"), ("user", "assistant")
# Unsupported keys of a turn, whose content would be lost, with what they hold.
_LOST = {
    "training_detail": "a mask within the turn",
    "train_detail": "a mask within the turn",
}
_REASONING = (REASONING, "reasoning", "thinking")
_MASKS = ("train", "training")


def in_order(turns: Sequence[Any]) -> Iterator[Any]:
    """Turns with their roles: a list may alternate texts, or hold pairs of question and answer."""
    for number, turn in enumerate(turns):
        if isinstance(turn, str):
            yield {"role": SPEAKERS[number % 2], "content": turn}
        elif isinstance(turn, dict) and turn.keys() == set(PAIR):
            yield from (
                {"role": role, "content": turn[key]}
                for role, key in zip(SPEAKERS, PAIR, strict=True)
            )
        else:
            yield turn


def read_turn(turn: Any, place: str) -> Message:
    """A turn as a message; InputError, which begins with its place, if it cannot be read."""
    keys = next((k for k in KEYS if isinstance(turn, dict) and turn.get(k[0]) is not None), None)
    if keys is None:
        raise InputError(
            f"{place}: a turn has the keys {' and '.join(KEYS[0])}, or from and value."
        )
    role = str(turn[keys[0]])
    if role.lower() not in ROLES:
        raise unknown("role", role, ROLES, place)
    for key, what in _LOST.items():
        if holds(turn.get(key)):
            raise InputError(
                f"{place}: {key!r} holds {what}, which is not supported; write into {keys[1]!r} "
                "what the model should learn, and remove it."
            )
    message = _said(turn, role.lower(), keys[1], place)
    if not message["content"].strip() and not message.get(CALLS):
        if message["role"] == "system":
            return {**message, "content": ""}
        if message["role"] != "tool":
            raise InputError(f"{place}: the turn of {role!r} is empty.")
    masked = message["role"] == "assistant" and not _is_to_learn(turn, place)
    return {**message, WEIGHT: "0"} if masked else message


def _said(turn: Mapping[str, Any], role: str, text_key: str, place: str) -> Message:
    """A turn's role, text and other fields."""
    if role == FUNCTION_CALL:
        calls, text = read_calls(turn.get(text_key) or "", place), ""
    else:
        given = [turn[key] for key in (CALLS, FUNCTION_CALL) if holds(turn.get(key))]
        calls = read_calls(given[0], place) if given else ""
        text = _text(turn.get(text_key), place)
    message = {"role": ROLES[role], "content": text}
    reasoning = _reasoning(turn, place)
    if message["role"] != "assistant" and (calls or reasoning):
        what = "a tool call" if calls else "reasoning"
        raise InputError(f"{place}: {what} in a turn of {role!r}; only the assistant has it.")
    about = {key: turn.get(key) for key in (NAME, CALL_ID) if message["role"] == "tool"}
    for key, value in about.items():
        if value is not None and not isinstance(value, str):
            raise InputError(f"{place}: {key} must be text, not {value!r}.")
    found = {CALLS: calls, REASONING: reasoning, **about}
    return message | {key: str(value) for key, value in found.items() if value}


def _reasoning(turn: Mapping[str, Any], place: str) -> str:
    given = [turn[key] for key in _REASONING if holds(turn.get(key))]
    for value in given:
        if not isinstance(value, str):
            raise InputError(f"{place}: the reasoning must be text, not {type(value).__name__}.")
        if value != given[0]:
            raise InputError(f"{place}: two different texts of reasoning; keep one of them.")
    return given[0] if given and given[0].strip() else ""


def _is_to_learn(turn: Mapping[str, Any], place: str) -> bool:
    """Whether the turn's weight and masks allow an answer to be learned."""
    weight = turn.get(WEIGHT)
    if weight is not None and weight not in (0, 1):
        raise InputError(
            f"{place}: weight {weight!r} of a turn; valid: 0 (not learned) and 1 (learned)."
        )
    masks = {key: turn[key] for key in _MASKS if turn.get(key) is not None}
    for key, value in masks.items():
        if not isinstance(value, bool):
            raise InputError(f"{place}: {key}: {value!r} of a turn; valid: true and false.")
    return weight != 0 and all(masks.values())


def _text(content: Any, place: str) -> str:
    """The text of a turn; OpenAI also allows a list of parts, which must all be text here."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list) else [content]
    for part in parts:
        if not isinstance(part, dict) or part.get("type") != "text" or "text" not in part:
            raise InputError(f"{place}: the content holds something other than text.")
    return "".join(part["text"] or "" for part in parts)


def holds(value: Any) -> bool:
    """Whether a value is not empty, also as JSON text."""
    return bool(value) and value not in ("[]", "{}", "null")
