"""Which format a source has: tried from top to bottom of `FORMATS`, with templates to phrase it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from brulee.data import shapes, table_hints
from brulee.data.conversations import TURNS, Turns
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
    "prompt-completion": shapes.prompt_completion,
    "alpaca": shapes.alpaca,
    "natural-instructions": shapes.natural_instructions,
    "p3": shapes.p3,
    "pair": shapes.pair,
    "text": shapes.plain_text,
}
_SAMPLE = 50
_SHOWN = 400
_MOST_DESCRIBED = 10


@dataclass(frozen=True)
class Detected:
    """What a source was taken for.

    `why` names the columns that decided it, or says what to do where `templates` is None. `rows`
    are those that the templates read: the source's own, or what was made from them.
    """

    name: str
    why: str
    templates: TemplateSet | None
    rows: Rows


class Described(NamedTuple):
    """A source's format, its name, and what `describe` says of it."""

    format: str
    source: str
    said: str


def detect(rows: Rows, limit: int | None = None, turns: Turns = "every") -> Detected:
    """The format of the rows, which is a labelled table where no other fits.

    `limit` bounds how many rows are made from one that holds many; `turns` says whether every
    answer of a chat is learned or the last. Raises InputError naming the row for a chat or an
    instance that is malformed.
    """
    if turns not in TURNS:
        raise unknown("choice of turns", turns, TURNS, "data.turns")
    look = Look(rows, tuple(rows[i] for i in range(min(_SAMPLE, len(rows)))), turns)
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
        return Detected(name, found.why, templates, made)
    return Detected(TABLE, table_hints.advice(rows, look.sample), None, rows)


def require_templates(detected: Detected) -> TemplateSet:
    """The format's templates; InputError saying what to do where it has none."""
    if detected.templates is None:
        raise InputError(f"{detected.rows.name}: {detected.why}")
    return detected.templates


def decided(detected: Detected) -> str:
    """What a source is read as, and why."""
    return f"{detected.rows.name}: read as {detected.name} ({detected.why})."


def describe(detected: Detected, row: Mapping[str, Any]) -> str:
    """One line on what was decided, then a row as its template renders it."""
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
    """What is to be said of many sources: of more than a few, one of each format for all of it."""
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
