"""`response_format` of a request: the JSON Schema that constrains its answers, if any."""

from __future__ import annotations

import json
from typing import Any, Final

from brulee.data.json_schema import ANY_OBJECT, check_schema
from brulee.errors import InputError
from brulee.serving.failures import ApiError

KEY: Final = "response_format"
SCHEMA: Final = f"{KEY}.json_schema.schema"
_KINDS: Final = ("text", "json_object", "json_schema")
_KEYS: Final = {
    "text": {"type"},
    "json_object": {"type", "schema"},  # llama.cpp allows a schema here
    "json_schema": {"type", "json_schema"},
}
_MOST: Final = 2**16  # characters of a schema


def read_response_format(given: Any) -> tuple[dict[str, Any], str] | None:
    """A schema and its place in the request; None for text. Raises ApiError naming the key."""
    if given is None:
        return None
    kind = given.get("type") if isinstance(given, dict) else None
    if kind not in _KINDS:
        raise _refused(f"{KEY}.type is one of {', '.join(_KINDS)}.", f"{KEY}.type")
    _check_keys(given, _KEYS[kind], KEY)
    if kind == "text":
        return None
    if kind == "json_object":
        own = given.get("schema")
        return checked(dict(ANY_OBJECT) if own is None else own, f"{KEY}.schema")
    named = given.get("json_schema")
    if not isinstance(named, dict) or "schema" not in named:
        raise _refused(f'{KEY}.json_schema is to be {{"schema": ...}}.', f"{KEY}.json_schema")
    _check_keys(named, {"name", "description", "schema", "strict"}, f"{KEY}.json_schema")
    return checked(named["schema"], SCHEMA)


def checked(schema: Any, place: str) -> tuple[dict[str, Any], str]:
    """A schema and its place in the request. Raises ApiError for an invalid or too large one."""
    try:
        found = check_schema(schema, place)
    except InputError as error:
        raise _refused(str(error), place) from None
    if (size := len(json.dumps(found))) > _MOST:
        raise _refused(f"{place} has {size} characters; at most {_MOST} are taken.", place)
    return found, place


def _check_keys(given: dict[str, Any], valid: set[str], place: str) -> None:
    if unknown := sorted(set(given) - valid):
        key = f"{place}.{unknown[0]}"
        raise _refused(f"unknown key {key!r}; valid: {', '.join(sorted(valid))}.", key)


def _refused(sentence: str, place: str) -> ApiError:
    return ApiError(400, sentence, place)
