"""Locates a problem in a JSON Schema that the grammar's compiler reports without its place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

_NAMED: Final = ("$defs", "definitions", "properties", "patternProperties")
_LISTED: Final = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_ALONE: Final = ("items", "additionalItems", "additionalProperties", "not", "if", "then", "else")
_VALUES: Final = ("const", "enum")
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_MOST: Final = 500  # parts tried at most
_PLAIN: Final = re.compile(r"[\w$-]+")
# Numbers within these survive a conversion to binary and back.
_WHOLE: Final = 2**53
_DIGITS, _POWERS = 15, 22


def place_of(
    schema: Mapping[str, Any], problem: str, problem_of: Callable[[Mapping[str, Any]], str]
) -> str:
    """The innermost part with the same problem, such as ".properties.age"; "" for the whole.

    A part is tried with the definitions that it may refer to. After `_MOST` parts, the search
    stops with the innermost one found.
    """
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    place, part, left = "", schema, _MOST
    while True:
        for name, inside in _parts(part):
            left -= 1
            if left < 0:
                return place
            if problem_of({**shared, **inside}) == problem:
                place, part = f"{place}{name}", inside
                break
        else:
            return place


def inexact_number(schema: Mapping[str, Any]) -> tuple[str, str] | None:
    """The place and text of a number that the compiler would round; None without one.

    Llguidance stores numbers as 64-bit floats, so it would change 1234567890123456789 in an enum.
    Bounds beyond 64-bit integers are left to it.
    """
    left: list[tuple[str, Any]] = [("", schema)]
    while left:
        place, part = left.pop()
        left += [(f"{place}{name}", inside) for name, inside in _parts(part)]
        said = [(f"{place}.{key}", part[key]) for key in _BOUNDS if key in part]
        found = [(at, n) for at, n in said if not (_is_number(n) and abs(n) >= 2**63 - 1)]
        found += [item for key in _VALUES if key in part for item in _numbers(place, key, part)]
        for at, number in found:
            if _is_number(number) and not _is_exact(number):
                return at, json.dumps(number)
    return None


def _numbers(place: str, key: str, part: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """All values under a key, at any depth, with their places."""
    left = [(f"{place}.{key}", part[key])]
    while left:
        at, value = left.pop()
        yield at, value
        if isinstance(value, Mapping):
            left += [(f"{at}{_named(name)}", inside) for name, inside in value.items()]
        elif isinstance(value, list):
            left += [(f"{at}[{number}]", inside) for number, inside in enumerate(value)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_exact(number: int | float) -> bool:
    if isinstance(number, int):
        return abs(number) <= _WHOLE
    written = Decimal(repr(number)).normalize()
    return len(written.as_tuple().digits) <= _DIGITS and abs(written.adjusted()) <= _POWERS


def _named(name: str) -> str:
    """A key as the last part of a place."""
    return f".{name}" if _PLAIN.fullmatch(name) else f"[{json.dumps(name)}]"


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The direct subschemas of a schema, with their places in it."""
    for key in _NAMED:
        inside = schema.get(key)
        for name, part in inside.items() if isinstance(inside, Mapping) else ():
            if isinstance(part, Mapping):
                yield f".{key}{_named(name)}", part
    for key in _LISTED:
        inside = schema.get(key)
        for number, part in enumerate(inside if isinstance(inside, list) else ()):
            if isinstance(part, Mapping):
                yield f".{key}[{number}]", part
    for key in _ALONE:
        if isinstance(schema.get(key), Mapping):
            yield f".{key}", schema[key]
