"""Where in a JSON Schema the trouble lies, of which a compiler says only what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

_NAMED: Final = ("$defs", "definitions", "properties", "patternProperties")
_LISTED: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_ALONE: Final = ("items", "additionalItems", "additionalProperties", "not", "if", "then", "else")
_MOST: Final = 500  # parts that are tried


def place_of(
    schema: Mapping[str, Any], problem: str, problem_of: Callable[[Mapping[str, Any]], str]
) -> str:
    """The innermost part of which the same problem is told, as ".properties.age"; "" for all of it.

    A part is tried with the definitions that it may refer to. Of a schema with more than `_MOST`
    parts on the way, it is the innermost that was found by then.
    """
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    place, part, left = "", schema, _MOST
    while True:
        for name, inside in _parts(part):
            left -= 1
            if left < 0:
                return place
            if problem_of({**shared, **inside}) == problem:
                place, part = f"{place}.{name}", inside
                break
        else:
            return place


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The schemas within one, and where they are."""
    for key in _NAMED:
        inside = schema.get(key)
        for name, part in inside.items() if isinstance(inside, Mapping) else ():
            if isinstance(part, Mapping):
                yield f"{key}.{name}", part
    for key in _LISTED:
        inside = schema.get(key)
        for number, part in enumerate(inside if isinstance(inside, list) else ()):
            if isinstance(part, Mapping):
                yield f"{key}[{number}]", part
    for key in _ALONE:
        if isinstance(schema.get(key), Mapping):
            yield key, schema[key]
