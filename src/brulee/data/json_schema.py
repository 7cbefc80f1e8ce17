"""Reads a JSON Schema from a file or from memory and checks its depth."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from brulee.data.raw import Raw
from brulee.data.strict_json import DEEPEST, too_deep
from brulee.data.tool_calls import parsed
from brulee.errors import InputError

Schema: TypeAlias = Mapping[str, Any] | str | os.PathLike[str]  # or the path of its file
ANY_OBJECT: Final[Mapping[str, Any]] = {"type": "object"}  # the schema of "a JSON object"


def read_schema(given: Schema) -> dict[str, Any]:
    """Read a schema from a mapping or from the file at a path.

    Raises InputError naming the file if it cannot be read, is not a JSON object, has duplicate
    keys, or is nested more than `DEEPEST` levels deep.
    """
    if isinstance(given, Mapping):
        found = check_schema(dict(given), "the JSON schema")
        try:
            json.dumps(found, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"the JSON schema must consist of JSON values: {error}.") from None
        return found
    path = Path(given)
    try:
        text = Raw(str(path), path).text()
    except OSError as error:
        raise InputError(f"{path}: the schema cannot be read: {error.strerror}.") from None
    return check_schema(parsed(text, str(path)), str(path))


def need_llguidance(what: str) -> None:
    """Raise InputError, with the command to install it, if llguidance is missing."""
    if importlib.util.find_spec("llguidance") is None:
        raise InputError(
            f"{what}: constraining answers to JSON needs llguidance, which is not installed; run: "
            "pip install 'brulee[json]'"
        )


def check_schema(found: Any, place: str) -> dict[str, Any]:
    """Return a schema unchanged. Raises InputError for any other value, and for deep nesting."""
    if not isinstance(found, dict):
        raise InputError(f'{place}: a JSON schema is an object, such as {{"type": "object"}}.')
    if too_deep(found):
        raise InputError(f"{place}: nested more than {DEEPEST} levels deep.")
    return found
