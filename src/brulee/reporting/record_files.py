"""Store records as JSON files atomically, and read them with clear errors."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from brulee.errors import InputError

RecordT = TypeVar("RecordT", bound=BaseModel)


def store(record: BaseModel, file: Path) -> Path:
    """Write a record to a file atomically; returns the file."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    text = record.model_dump_json(by_alias=True, indent=2)
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(file)
    return file


def load(model: type[RecordT], file: Path, schema: int) -> RecordT:
    """Read a record of this `schema` from a file.

    Raises InputError for malformed JSON, another schema number, and a missing, unknown or mistyped
    key.
    """
    try:
        return model.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise InputError(f"{file}: {_first_problem(error, schema)}") from None


def not_finite(record: BaseModel) -> tuple[str, float] | None:
    """The path and value of the first non-finite number of a record; None if all are finite."""
    numbers = _floats(record.model_dump(by_alias=True))
    return next(((key, number) for key, number in numbers if not math.isfinite(number)), None)


def _floats(values: Any, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(values, float):
        yield path, values
    elif isinstance(values, dict):
        for key, value in values.items():
            yield from _floats(value, f"{path}.{key}" if path else str(key))
    elif isinstance(values, list | tuple):
        for i, value in enumerate(values):
            yield from _floats(value, f"{path}[{i}]")


def _first_problem(error: ValidationError, schema: int) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "json_invalid":
        return f"not valid JSON ({problem['msg'].removeprefix('Invalid JSON: ')})."
    if key == "schema":
        return f"schema {problem['input']!r} is not known; this version reads schema {schema}."
    if problem["type"] == "missing":
        return f"the key {key!r} is missing."
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}."
    return f"{key or 'the file'} = {problem['input']!r}: {problem['msg']}."
