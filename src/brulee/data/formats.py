"""Detects the format of a source (the first in `FORMATS` that fits) and gives its templates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from brulee.data import shapes, table_hints
from brulee.data.conversations import TURNS, Malformed, OnMalformed, Turns
from brulee.data.messages import listed, spoken
from brulee.data.shapes import Found, Look
from brulee.data.sources import Rows
from brulee.data.template import Template
from brulee.data.templates import TemplateSet
from brulee.errors import InputError, unknown
from brulee.printable import printable

TABLE = "labelled-table"
FORMATS: dict[str, Callable[[Look], Found | None]] = {
    "preference": shapes.preference,
    "openai-chat": shapes.openai_chat,
    "sharegpt": shapes.sharegpt,
    "gemini": shapes.gemini,
    "turns-in-order": shapes.turns_in_order,
    "message-tree": shapes.message_tree,
    "xlam": shapes.xlam,
    "prompt-completion": shapes.prompt_completion,
    "alpaca": shapes.alpaca,
    "natural-instructions": shapes.natural_instructions,
    "p3": shapes.p3,
    "pair": shapes.pair,
    "written-chat": shapes.written_chat,
    "text": shapes.plain_text,
}
_SAMPLE = 50
_SHOWN = 400
_MOST_DESCRIBED = 10
_MOST_REASONS = 3


@dataclass(frozen=True)
class Detected:
    """The detected format of a source.

    `why` names the columns that decided it, or says what to do if `templates` is None. `rows` are
    the rows that the templates read: the source's or rows converted from them, without the
    `malformed` chats.
    """

    name: str
    why: str
    templates: TemplateSet | None
    rows: Rows
    malformed: tuple[Malformed, ...] = ()


class Described(NamedTuple):
    """A source's format, its name, and its description from `describe`."""

    format: str
    source: str
    said: str


def detect(
    rows: Rows,
    limit: int | None = None,
    turns: Turns = "every",
    malformed_chats: OnMalformed = "refuse",
) -> Detected:
    """Detect the format of the rows, a labelled table if no other fits.

    `limit` bounds the number of rows converted from one row that holds many; `turns` says whether
    every or only the last answer of a chat is learned, `malformed_chats` whether a malformed chat
    is an error or left out. Raises InputError naming the row of a malformed chat or instance.
    """
    if turns not in TURNS:
        raise unknown("choice of turns", turns, TURNS, "data.turns")
    look = Look(rows, tuple(rows.some(range(min(_SAMPLE, len(rows))))), turns, malformed_chats)
    for name, recognise in FORMATS.items():
        found = recognise(look)
        if found is None:
            continue
        if found.jinja is None:
            return Detected(name, found.why, None, rows)
        chat = turns if found.chat else None
        template = Template(name, found.jinja, chat=chat, plain=found.plain)
        templates = TemplateSet(name, (template,))
        made = found.convert(rows, limit) if found.convert else rows
        return Detected(name, found.why, templates, made, found.malformed)
    return Detected(TABLE, table_hints.advice(rows, look.sample), None, rows)


def require_templates(detected: Detected) -> TemplateSet:
    """The format's templates; InputError saying what to do if it has none."""
    if detected.templates is None:
        raise InputError(f"{detected.rows.label}: {detected.why}")
    return detected.templates


def left_out(detected: Detected) -> str:
    """The number of chats that were left out, and the first one for each of the commonest reasons.

    There has to be at least one.
    """
    malformed = detected.malformed
    of_reason: dict[str, list[str]] = {}
    for one in malformed:
        of_reason.setdefault(one.reason, []).append(one.error)
    most = sorted(of_reason.values(), key=len, reverse=True)
    shown = [f"  {len(errors):,}: {errors[0]}" for errors in most[:_MOST_REASONS]]
    if rest := sum(map(len, most[_MOST_REASONS:])):
        shown.append(f"  {rest:,} for other reasons")
    total = len(malformed) + len(detected.rows)
    head = f"{len(malformed):,} of {total:,} chats are malformed and left out:"
    return "\n".join([f"{detected.rows.label}: {head}", *shown])


def decided(detected: Detected) -> str:
    """A sentence with the format that a source is read as, and why."""
    return f"{detected.rows.label}: read as {detected.name} ({detected.why})."


def describe(detected: Detected, row: Mapping[str, Any]) -> str:
    """A line with the detected format, then a rendered row."""
    line = decided(detected)
    rendered = require_templates(detected).templates[0].render(row)
    if rendered is None:
        return f"{line}\n  (the row renders no prompt)"
    if rendered.plain:
        return f"{line}\n  text: {_cut(rendered.completion)}"
    before = "\n".join(map(spoken, rendered.history))
    parts = {"tools": listed(rendered.tools), "history": before}
    shown = {part: text for part, text in parts.items() if text}
    shown |= {"prompt": rendered.prompt, "completion": rendered.completion}
    return "\n".join([line, *(f"  {part}: {_cut(text)}" for part, text in shown.items())])


def described(sources: Sequence[Described]) -> Iterator[str]:
    """Describe sources; if there are many, only the first one of each format."""
    if len(sources) <= _MOST_DESCRIBED:
        yield from (one.said for one in sources)
        return
    of_format: dict[str, list[Described]] = {}
    for one in sources:
        of_format.setdefault(one.format, []).append(one)
    for first, *others in of_format.values():
        yield first.said
        if others:
            names = f"from {others[0].source} to {others[-1].source}"
            yield f"and {len(others):,} more read as {first.format}, {names}."


def _cut(text: str) -> str:
    left = f" ... and {len(text) - _SHOWN} characters more" if len(text) > _SHOWN else ""
    return printable(text[:_SHOWN]).replace("\n", "\n    ") + left
