"""The fields of a task for each document: a column, a template or a constant.

As in lm-evaluation-harness 0.4.13, but in our sandbox: a template that is too slow or too large
fails, and a null renders as an empty string.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jinja2
import regex

from brulee.data.sandbox import FAILURES, LimitedEnvironment, render
from brulee.errors import InputError, unknown

_MALFORMED: Final = (SyntaxError, ValueError, TypeError, MemoryError, RecursionError)
_MAX_SECONDS: Final = 1.0
_NUMBER: Final = regex.compile("0|[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Document:
    """A row and its place, for messages."""

    values: Mapping[str, Any]
    place: str


def text_of(document: Document, field: str | int | None, choices: bool) -> str | int:
    """The question: a text, or the index of the correct context if `choices` are contexts."""
    found = _resolved(document, field, "doc_to_text")
    if isinstance(found, str) and choices and field not in document.values and _is_number(found):
        return int(found)
    if not isinstance(found, str | int):
        raise InputError(f"{document.place}: doc_to_text gives {found!r}, which is not text.")
    return found


def target_of(document: Document, field: Any, choices: bool) -> Any:
    """The answer: a text, the index of a choice, or a list of either."""
    if isinstance(field, list):
        return field
    found = _resolved(document, field, "doc_to_target")
    if not isinstance(found, str) or field in document.values:
        return found
    if choices and _is_number(found):
        return int(found)
    if len(found) >= 2 and found[0] == "[" and found[-1] == "]":
        try:
            return ast.literal_eval(found)
        except _MALFORMED:
            return found
    return found


def choices_of(document: Document, field: Any) -> list[str]:
    """The choices, in order. Raises InputError for anything but a list of texts."""
    if isinstance(field, dict):
        found: Any = list(field.values())
    elif isinstance(field, list) or field in document.values:
        found = field if isinstance(field, list) else document.values[field]
    else:
        written = template(document, field, "doc_to_choice")
        try:
            found = ast.literal_eval(written)
        except _MALFORMED:
            found = written
    if not isinstance(found, list) or not found or not all(isinstance(c, str) for c in found):
        raise InputError(
            f"{document.place}: doc_to_choice gives {str(found)[:60]!r}; a list of texts is needed."
        )
    return found


def prefix_of(document: Document, field: str | None) -> str:
    """A text from a column or a template: a description, or the beginning of an answer."""
    if not field:
        return ""
    found = document.values[field] if field in document.values else template(document, field, "")
    return str(found)


def template(document: Document, text: str, name: str) -> str:
    """A rendered template. Raises InputError naming the row for which it fails."""
    where = f"{document.place}: {name or 'a template'}"
    try:
        return render(_program(text), document.values, document.place)
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"{where} is not a valid template: {error.message}.") from None
    except jinja2.UndefinedError as error:
        missing = str(error).split("'")[1] if "'" in str(error) else str(error)
        raise unknown("column", missing, document.values, where) from None
    except FAILURES as error:
        raise InputError(f"{where} cannot be rendered: {error}.") from None


def _is_number(text: str) -> bool:
    """Whether a text is the index of a choice, rather than a choice such as "\u00b2" or "01"."""
    return _NUMBER.fullmatch(text) is not None


def _resolved(document: Document, field: Any, name: str) -> Any:
    if isinstance(field, int):
        return field
    if not isinstance(field, str):
        raise InputError(f"{document.place}: the task has no {name}.")
    return document.values[field] if field in document.values else template(document, field, name)


@functools.lru_cache(maxsize=64)
def _program(text: str) -> jinja2.Template:
    return _environment().program(text)


@functools.cache
def _environment() -> LimitedEnvironment:
    environment = LimitedEnvironment()
    environment.keep_trailing_newline = True  # a question may end in one
    environment.filters["regex_replace"] = _regex_replace
    return environment


def _regex_replace(text: str, pattern: str, replacement: str, count: int = 0) -> str:
    """The harness's filter, with a time limit by using `regex` instead of `re`."""
    try:
        return str(regex.sub(pattern, replacement, text, count=count, timeout=_MAX_SECONDS))
    except (TimeoutError, regex.error) as error:
        raise jinja2.TemplateRuntimeError(f"regex_replace({pattern!r}) fails: {error}") from None
