"""Parses JSON from outside, with one-sentence errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from brulee.errors import InputError


def parse_json(
    text: str,
    file: object,
    line: int | None = None,
    pairs: Callable[[list[tuple[str, Any]]], dict[str, Any]] | None = None,
) -> Any:
    """Parse the JSON text of a file, or of its line `line`.

    `pairs` makes an object of its (key, value) pairs, and may reject them. Raises InputError naming
    file, line and column of invalid JSON, or file and line if it is nested too deeply or has too
    long a number.
    """
    place = str(file) if line is None else f"{file}, line {line}"
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        at = f"{file}, line {line or error.lineno}"
        raise InputError(f"{at}: not valid JSON: {error.msg} (column {error.colno}).") from None
    except (ValueError, RecursionError):
        raise InputError(
            f"{place}: not usable JSON: nested too deeply or a number too long."
        ) from None
