"""Reads multi-turn chats in several formats and converts them to rows.

{"messages":      [{"role": "user", "content": ...}, ...]}        OpenAI
{"conversations": [{"from": "human", "value": ...}, ...]}         ShareGPT
{"contents":      [{"role": "user", "parts": [{"text": ...}]}]}   Gemini
{"conversations": ["question", "answer", ...]}                    LIMA
{"conversation":  [{"input": ..., "output": ...}, ...]}           Capybara
{"prompt": [{"role": ...}], "completion": [{"role": ...}]}        prompt and completion
{"history": [["question", "answer"], ...], "instruction": ...}    Alpaca with history

The rows have the columns prompt and completion (the last question and its answer), history (all
turns before them) and speaker (the role of the prompt: user, or tool for a result). An answer with
weight 0 or train: false is not learned; turns after the last learned answer are dropped.

If chats have tools, the rows also have the columns tools, asked_with and answered_with (the other
fields of the prompt's and the answer's turn), all JSON text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from brulee.data.messages import (
    CALLS,
    Message,
    as_json,
    further,
    is_learned,
    said,
)
from brulee.data.packing import TOOLS
from brulee.data.sources import Rows
from brulee.data.tool_calls import are_tools, check_results, read_tools
from brulee.data.turn_reading import PAIR, SPEAKERS, content_text, holds, in_order, read_turn
from brulee.errors import InputError
from brulee.progress import bar

Turns = Literal["every", "last"]
TURNS: tuple[Turns, ...] = ("every", "last")
OnMalformed = Literal["refuse", "skip"]
LEAVE_OUT: Final = "data.malformed_chats: skip leaves such chats out and counts them."
SYSTEM = ("system", "system_prompt", "systemInstruction", "system_instruction")
HISTORY, SPEAKER = "history", "speaker"
ASKED_WITH, ANSWERED_WITH = "asked_with", "answered_with"
_OF_TOOLS = (TOOLS, ASKED_WITH, ANSWERED_WITH)
FUNCTIONS = "functions"  # OpenAI's first name for tools
IN_ORDER = ("messages", "conversations", "conversation")  # columns whose turns may lack roles
COLUMNS = (*IN_ORDER, "contents")
_WORTH_A_BAR = 20_000  # chats
_TURN = re.compile(rf"^(, {HISTORY})?(, turn \d+)?: ")
# The roles that may follow a role; "" is the start of the chat.
_AFTER = {
    "": ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}


class Malformed(NamedTuple):
    """A chat that cannot be read: its place, and the error, which begins with it."""

    place: str
    error: str

    @property
    def reason(self) -> str:
        """The error without the row's place and the turn's number."""
        return _TURN.sub("", self.error.removeprefix(self.place), count=1)


def conversations(rows: Rows) -> list[list[Message]]:
    """Every row's chat, with the roles user, assistant, system and tool.

    A `system` column becomes the first turn; empty system messages are dropped. A masked answer has
    "weight": "0"; calls, reasoning, a tool's name and the id of its call have their own keys. Turns
    after the last learned answer are dropped. Raises InputError naming the row (and the turn) for
    an unknown role, an empty turn, turns that do not alternate, no answer or none to learn, a
    malformed call, and a result without a call.
    """
    found = []
    with bar("Reading chats", len(rows), "rows", _WORTH_A_BAR) as progress:
        for i, row in enumerate(rows):
            found.append(_conversation(row, rows.place(i)))
            progress.advance()
    return found


def well_formed(
    rows: Rows, check: Callable[[Mapping[str, Any], str], None]
) -> tuple[Rows, list[Malformed]]:
    """The rows, in their places, in which `check` finds no error, and the errors of the others.

    `check` takes a row and its place. Raises InputError with the first row's error if no row can be
    read.
    """
    kept, malformed = [], []
    with bar("Checking chats", len(rows), "rows", _WORTH_A_BAR) as progress:
        for i, row in enumerate(rows):
            place = rows.place(i)
            try:
                check(row, place)
                kept.append(i)
            except InputError as error:
                malformed.append(Malformed(place, str(error)))
            progress.advance()
    if not kept:
        raise InputError(malformed[0].error)
    return rows.kept(kept) if malformed else rows, malformed


def check_chat(row: Mapping[str, Any], place: str) -> None:
    """Raise InputError for a row that `chat_rows` cannot read."""
    _conversation(row, place)
    _tools(row, place)


def check_history(row: Mapping[str, Any], place: str, tools: bool) -> None:
    """Raise InputError for a row that `alpaca_rows` cannot read; `tools`: any row has tools."""
    _alpaca_history(row, place)
    if tools:
        _tools(row, place)


def chat_rows(rows: Rows) -> Rows:
    """Convert chats to the columns prompt, completion, history, speaker, and the columns of tools.

    The columns of tools are left out if no chat has any, and then history and speaker as well if
    every chat is a single question and answer. Existing columns of these names are replaced. Raises
    InputError like `conversations`, and for a malformed tool description.
    """
    chats = [[_stripped(message) for message in chat] for chat in conversations(rows)]
    texts: dict[str, list[Any]] = {
        "prompt": [chat[-2]["content"] for chat in chats],
        "completion": [said(chat[-1]) for chat in chats],
    }
    with_tools = _tool_columns(rows, chats)
    if with_tools or any(len(chat) > 2 for chat in chats):
        texts[HISTORY] = [chat[:-2] for chat in chats]
        texts[SPEAKER] = [chat[-2]["role"] for chat in chats]
    dropped = [*COLUMNS, *SYSTEM, HISTORY, SPEAKER, *_OF_TOOLS]
    return rows.replaced({**texts, **with_tools}, dropped)


def alpaca_rows(rows: Rows) -> Rows:
    """Convert the [question, answer] pairs and system texts of Alpaca rows to turns in `history`.

    A column `tools` with tool descriptions is read as well. Raises InputError naming the row for a
    history of another form.
    """
    history = [_alpaca_history(row, rows.place(i)) for i, row in enumerate(rows)]
    tools = _tools_of(rows) if has_tools(rows) else []
    if not any(history) and not any(tools):
        return rows.replaced({}, [HISTORY, *SYSTEM, *_OF_TOOLS])
    added: dict[str, list[Any]] = {HISTORY: history, SPEAKER: ["user"] * len(rows)}
    if any(tools):
        added[TOOLS] = [text or None for text in tools]
    return rows.replaced(added, [*SYSTEM, *_OF_TOOLS])


def has_tools(rows: Rows) -> bool:
    """Whether the column `tools` describes tools in at least one row."""
    return TOOLS in rows.columns and any(map(are_tools, rows.column(TOOLS)))


def is_history(value: Any) -> bool:
    """Whether a value is a list, possibly empty, of pairs of strings."""
    return isinstance(value, list) and all(
        isinstance(turn, list) and len(turn) == 2 and all(isinstance(t, str) for t in turn)
        for turn in value
    )


def has_messages(values: Iterable[Any], keys: tuple[str, str]) -> bool:
    """Whether all non-empty values are lists of turns with the two keys, and there are any."""
    held = [value for value in values if value]
    return bool(held) and all(
        isinstance(value, list) and isinstance(value[0], dict) and set(keys) <= set(value[0])
        for value in held
    )


def has_turns_in_order(values: Iterable[Any]) -> bool:
    """Whether all non-empty values are lists of texts, question and answer in turn, or of pairs."""
    held = [value for value in values if value]
    texts = all(
        isinstance(value, list) and all(isinstance(turn, str) for turn in value) for value in held
    )
    return bool(held) and (texts or has_messages(held, PAIR))


def _conversation(row: Mapping[str, Any], place: str) -> list[Message]:
    turns = [*_system(row, place), *_turns(row, place)]
    read = [(n, read_turn(turn, f"{place}, turn {n}")) for n, turn in enumerate(turns, start=1)]
    spoken = [(n, message) for n, message in read if _is_turn(message)]
    before = ""
    for number, message in spoken:
        role = message["role"]
        if role not in _AFTER[before]:
            follows = f"follows {before!r}" if before else "begins the chat"
            raise InputError(
                f"{place}, turn {number}: {role!r} {follows}, where "
                f"{' or '.join(repr(r) for r in _AFTER[before])} has to stand; turns alternate."
            )
        before = role
    messages = [message for _, message in spoken]
    if not any(message["role"] == "assistant" for message in messages):
        raise InputError(f"{place}: the last turn is from {before!r}, and no turn is an answer.")
    check_results(spoken, place)
    learned = [at for at, message in enumerate(messages) if is_learned(message)]
    if not learned:
        raise InputError(f"{place}: every answer of the chat is masked; none is left to learn.")
    return messages[: learned[-1] + 1]


def _tool_columns(rows: Rows, chats: Sequence[Sequence[Message]]) -> dict[str, list[Any]]:
    """The columns tools, asked_with and answered_with; none if there is nothing to put in them."""
    tools = _tools_of(rows)
    if not any(tools) and not any(further(message) for chat in chats for message in chat):
        return {}
    asked = [further(chat[-2]) for chat in chats]
    answered = [further(chat[-1]) for chat in chats]
    contents = [{"content": chat[-1]["content"]} for chat in chats]
    return {
        TOOLS: [text or None for text in tools],
        ASKED_WITH: [as_json(found) if found else None for found in asked],
        ANSWERED_WITH: [
            as_json(content | found) if found else None
            for content, found in zip(contents, answered, strict=True)
        ],
    }


def _tools_of(rows: Rows) -> list[str]:
    """The tools of every row as JSON text; "" for a row without tools."""
    if not {TOOLS, FUNCTIONS} & set(rows.columns):
        return [""] * len(rows)
    return [_tools(row, rows.place(i)) for i, row in enumerate(rows)]


def _tools(row: Mapping[str, Any], place: str) -> str:
    if are_tools(row.get(FUNCTIONS)) and not holds(row.get(TOOLS)):
        return read_tools(row[FUNCTIONS], f"{place}, column {FUNCTIONS!r}")
    value = row.get(TOOLS)
    return read_tools(value, f"{place}, column {TOOLS!r}") if holds(value) else ""


def _is_turn(message: Message) -> bool:
    """Whether a turn is not empty; a tool may return nothing."""
    return bool(message["content"] or message.get(CALLS)) or message["role"] == "tool"


def _alpaca_history(row: Mapping[str, Any], place: str) -> list[Message]:
    pairs = row.get(HISTORY) or []
    if not is_history(pairs):
        raise InputError(f"{place}: {HISTORY!r} has to be a list of [question, answer].")
    spoken = [
        {"role": role, "content": text}
        for pair in pairs
        for role, text in zip(SPEAKERS, pair, strict=True)
    ]
    turns = [read_turn(turn, f"{place}, {HISTORY}, turn {n}") for n, turn in enumerate(spoken, 1)]
    return [_stripped(turn) for turn in (*_system(row, place), *turns)]


def _stripped(message: Message) -> Message:
    return {**message, "content": message["content"].strip()}


def _turns(row: Mapping[str, Any], place: str) -> list[Any]:
    if isinstance(row.get("prompt"), list) and isinstance(row.get("completion"), list):
        return [*row["prompt"], *row["completion"]]
    present = [column for column in COLUMNS if column in row]
    if not present:
        raise InputError(
            f"{place}: no chat in this row; its column must be {' or '.join(COLUMNS)}."
        )
    held = [row[column] for column in present if row[column]]
    if not held or not isinstance(held[0], list):
        raise InputError(f"{place}: the chat in {present[0]!r} has no turns.")
    return [*in_order(held[0])]


def _system(row: Mapping[str, Any], place: str) -> list[Message]:
    held = next((row[column] for column in SYSTEM if row.get(column)), None)
    if isinstance(held, dict) and held.get("parts") is not None:
        held = held["parts"]
    if held is not None and not isinstance(held, str | list | dict):
        raise InputError(f"{place}: the system column holds {type(held).__name__}, not text.")
    text = content_text(held, f"{place}, system message")
    return [{"role": "system", "content": text}] if text else []
