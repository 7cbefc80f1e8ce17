"""Parses JSON from outside, with one-sentence errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

from brulee.errors import InputError

Pairs = Callable[[list[tuple[str, Any]]], dict[str, Any]]


class RepeatedKeyError(ValueError):
    """An object has a key twice, of which Python would drop the earlier value."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key!r} is given twice in one object")


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of its (key, value) pairs; RepeatedKeyError if a key is repeated."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise RepeatedKeyError(key)
            seen.add(key)
    return found


def no_number(constant: str) -> NoReturn:
    """Reject NaN and the infinities, which Python would accept. Raises ValueError."""
    raise ValueError(f"{constant} is no JSON number")


def parse_json(text: str, file: object, line: int | None = None, pairs: Pairs | None = None) -> Any:
    """Parse the JSON text of a file, or of its line `line`.

    `pairs` makes an object of its (key, value) pairs; `distinct` rejects repeated keys. Raises
    InputError naming file, line and column of invalid JSON, or file and line if it is nested too
    deeply, has too long a number or a repeated key.
    """
    place = str(file) if line is None else f"{file}, line {line}"
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        at = f"{file}, line {line or error.lineno}"
        raise InputError(f"{at}: not valid JSON: {error.msg} (column {error.colno}).") from None
    except (ValueError, RecursionError) as error:
        raise unusable(place, error) from None


def unusable(place: str, error: Exception) -> InputError:
    """The error for JSON that is valid, and nested too deeply, has too long a number, or the like.

    `error` is what `json.loads` raised.
    """
    if isinstance(error, RepeatedKeyError):
        return InputError(f"{place}: {error}.")
    return InputError(f"{place}: not usable JSON: nested too deeply or a number too long.")
