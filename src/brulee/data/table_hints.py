"""Advice for a table of no known format: its columns, and the library families that fit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from brulee.data.conversations import COLUMNS, has_messages, has_turns_in_order
from brulee.data.known_columns import ABOUT_TEXT, CONTEXT, NAMED, PAIRS, TARGETS
from brulee.data.messages import as_json
from brulee.data.multiple_choice import one_each
from brulee.data.row_texts import is_id
from brulee.data.sentence_pairs import pair_in
from brulee.data.sources import Rows
from brulee.data.templates import TemplateSet, library
from brulee.data.turn_names import KEYS
from brulee.errors import InputError

_MOST = 6
_MOST_SHOWN = 40
# Columns whose lists of texts are chats, and not words or choices.
_CALLED_CHATS = frozenset(("chat", "data", "dialog", "dialogs", "dialogue", "turns", "utterances"))
_OF_KEYS = ("messages", "conversations", "contents")  # the column of turns with such keys
_JSON_CHAT = re.compile(r'\s*\[\s*\{\s*"(role|content|from|value)"\s*:')


def advice(rows: Rows, sample: Sequence[Mapping[str, Any]]) -> str:
    """A sentence that a template is needed, with the families that render the first row."""
    chats = _chats(sample)
    if chats:
        return chats
    if other := _other_than_text(rows, sample):
        return other
    fitting = families_for(rows.columns, sample[0], rows.class_names) if sample else []
    columns = ", ".join(rows.columns)
    said = f"the columns ({columns}) do not say what is asked and what is learned"
    if not fitting:
        own = "data.templates: {prompt: ..., completion: ...}"
        if sides := pair_in(sample):
            into = f"translates {sides[0].language} into {sides[1].language}"
            return f"{said}; write {own}. `brulee init` writes a recipe that {into}."
        said = f"{said}, and no library family has them; write {own}, or map data.columns."
        return said + _alone(sample)
    return (
        f"{said}; choose data.templates. Library families that fit these columns: "
        f"{', '.join(fitting)}."
    )


def _other_than_text(rows: Rows, sample: Sequence[Mapping[str, Any]]) -> str:
    """Advice for columns of a known pair, of which one holds something other than text."""
    pairs = [pair for pair in (*NAMED, *PAIRS) if set(pair) <= set(rows.columns)]
    for column in pairs[0] if pairs else ():
        held = next((v for row in sample if isinstance(v := row[column], bool | dict | list)), None)
        if held is not None:
            return (
                f"the column {column!r} holds {as_json(held)[:_MOST_SHOWN]}, which is not text; "
                f"say in data.templates what is asked and learned, where {{{{{column} | tojson}}}} "
                "writes it as JSON."
            )
    return ""


def _alone(sample: Sequence[Mapping[str, Any]]) -> str:
    """Advice for a single column of texts, or one called "text", which may be plain text."""
    texts = [
        column
        for column, value in (sample[0] if sample else {}).items()
        if isinstance(value, str) and column not in ABOUT_TEXT and not is_id(column)
    ]
    if "text" in texts:
        return " To learn 'text' as plain text: data.templates: plain-text."
    if len(texts) != 1 or not texts[0].isidentifier():
        return ""
    return (
        f" To learn {texts[0]!r} as plain text: data.templates: plain-text with data.columns: "
        f"{{text: {texts[0]}}}."
    )


def _chats(sample: Sequence[Mapping[str, Any]]) -> str:
    """Advice for a column that holds chats under another name, or as JSON text."""
    for column in sample[0] if sample else ():
        values = [row[column] for row in sample if row[column]]
        called = column.lower() in _CALLED_CHATS and not TARGETS & sample[0].keys()
        if called and has_turns_in_order(values):
            return _holds_chats(column, "conversations")
        for name, keys in zip(_OF_KEYS, KEYS, strict=True):
            if has_messages(values, keys):
                return _holds_chats(column, name)
        if values and all(isinstance(v, str) and _JSON_CHAT.match(v) for v in values):
            return (
                f"the column {column!r} holds chats as JSON text; write each as a list of turns, "
                f"not as a text (json.loads makes one of the other), in a column {COLUMNS[0]!r}."
            )
    return ""


def _holds_chats(column: str, name: str) -> str:
    return f"the column {column!r} holds chats; write data.columns: {{{name}: {column}}}."


def families_for(
    columns: list[str],
    row: Mapping[str, Any],
    class_names: Mapping[str, Sequence[str]] = {},
) -> list[str]:
    """Library families whose templates apply to a row, those that read most columns first.

    A family is excluded if it does not read all columns of context and of options, or if it reads
    only `text` and class columns and names the classes differently than the source does.
    """
    about = CONTEXT & set(columns) | {*one_each(columns)}
    fitting = {
        name: templates
        for name, templates in library().items()
        if about <= templates.columns <= set(columns) and _applies(templates, row, class_names)
    }
    return sorted(fitting, key=lambda name: (-len(fitting[name].columns), name))[:_MOST]


def _applies(
    templates: TemplateSet, row: Mapping[str, Any], class_names: Mapping[str, Sequence[str]]
) -> bool:
    try:
        rendered = templates.templates[0].render(row)
    except InputError:
        return False
    if rendered is None or not rendered.completion:
        return False
    named = [class_names[column] for column in templates.columns if column in class_names]
    if not named or not templates.columns <= {"text", *class_names}:
        return True
    choices = {_stem(choice) for choice in rendered.choices or ()}
    return any(_stem(name) in choices for name in named[0])


def _stem(name: str) -> str:
    """The start of a class name, for loose comparison: "pos" is "positive"."""
    return name.strip().lower()[:3]
