"""JSON that somebody else wrote: its value, or one sentence about what is wrong with it."""

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
    """The value of a file's text, or with `line` of that one line of it.

    `pairs` makes an object of its keys and values, and may refuse them. Raises InputError naming
    file, line and column of what is no JSON, or what is nested too deeply
    or holds too long a number to be read.
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
