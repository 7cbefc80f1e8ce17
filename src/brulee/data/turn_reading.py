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
# Keys of a part without a type that are not content.
_ABOUT_PART = frozenset(("text", "thoughtSignature", "thought_signature"))


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
    keys = _keys(turn)
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


def _keys(turn: Any) -> tuple[str, str] | None:
    """The keys of a turn's role and text: those that hold both, else the first with a role."""
    named = [keys for keys in KEYS if isinstance(turn, dict) and turn.get(keys[0]) is not None]
    both = [keys for keys in named if turn.get(keys[1]) is not None]
    return next(iter((*both, *named)), None)


def _said(turn: Mapping[str, Any], role: str, text_key: str, place: str) -> Message:
    """A turn's role, text and other fields."""
    if role == FUNCTION_CALL:
        calls, text = read_calls(turn.get(text_key) or "", place), ""
    else:
        given = [turn[key] for key in (CALLS, FUNCTION_CALL) if holds(turn.get(key))]
        calls = read_calls(given[0], place) if given else ""
        text = content_text(turn.get(text_key), place)
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


def content_text(content: Any, place: str) -> str:
    """The text of a turn, or of its parts, which have to be texts; InputError for anything else.

    Some formats do not write the type of a part.
    """
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list) else [content]
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else ""
        if kind is None and part.get("thought"):
            raise InputError(
                f"{place}: a part is marked as a thought; write it into {REASONING!r} of the turn."
            )
        if not ((kind == "text" and "text" in part) or (kind is None and _is_said(part))):
            raise InputError(f"{place}: the content holds something other than text.")
    return "".join(part["text"] or "" for part in parts)


def _is_said(part: Mapping[str, Any]) -> bool:
    """Whether a part without a type is a text, and nothing else, such as an image."""
    beside = [value for key, value in part.items() if key not in _ABOUT_PART]
    return isinstance(part.get("text"), str) and not any(beside)


def holds(value: Any) -> bool:
    """Whether a value is not empty, also as JSON text."""
    return bool(value) and value not in ("[]", "{}", "null")
