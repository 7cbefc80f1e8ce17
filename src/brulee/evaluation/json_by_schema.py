"""The share of answers that are valid under a JSON Schema, independent of references.

Answers are parsed as by the metric `json`, with every digit of their numbers. The optional package
jsonschema validates them under the draft that the schema names (default: 2020-12). `format` is not
checked, as is JSON Schema's default, and a schema may not refer to anything outside itself.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from brulee.data import strict_json
from brulee.data.json_schema import read_schema
from brulee.data.strict_json import NotJsonError
from brulee.errors import InputError
from brulee.evaluation.base import Array, MeanMetric

OPTION: Final = ":schema="
_NAMES: Final = {"json": False, "json:fenced": True}
_FARTHEST: Final = 400  # a power of ten beyond the range of doubles


def is_by_schema(name: str) -> bool:
    """Whether the name is that of a schema metric."""
    return name.partition(OPTION)[0] in _NAMES and OPTION in name


def by_schema(name: str) -> JsonBySchema:
    """The metric `json:schema=FILE` or `json:fenced:schema=FILE`.

    Raises InputError for an invalid schema, naming the file and the place in it, and if jsonschema
    is not installed.
    """
    kind, _, file = name.partition(OPTION)
    if importlib.util.find_spec("jsonschema") is None:
        raise InputError(
            f"metric {name} needs jsonschema, which is not installed; run: pip install "
            "'brulee[json]'"
        )
    if not file:
        raise InputError(f"metric {name} names no file; write {kind}{OPTION}FILE.")
    return JsonBySchema(_validator(read_schema(file), file), Path(file).stem, _NAMES[kind], file)


@final
class JsonBySchema(MeanMetric):
    """The share of answers that are JSON and valid; `fenced` as in `JsonFields`."""

    summary = "the share of answers that are valid under the JSON Schema in a file"

    def __init__(self, validator: Any, name: str, fenced: bool, file: str) -> None:
        self._validator, self._fenced, self._file = validator, fenced, file
        self.keys = (f"json_by_schema:{name}{':fenced' * fenced}",)

    def check(self, references: Sequence[str]) -> None:
        """Accepts anything, because references are not used."""

    def statistics(self, prediction: str, references: Sequence[str]) -> dict[str, Array]:
        """1 for a valid answer, 0 for any other: (1,).

        Raises InputError for a schema with an unresolvable reference.
        """
        del references
        return {self.keys[0]: np.array([float(self.valid(prediction))])}

    def valid(self, text: str) -> bool:
        """Whether a text is valid. Raises InputError as `statistics`."""
        import referencing.exceptions

        try:
            value = (strict_json.read_fenced if self._fenced else strict_json.read)(text)
            return bool(self._validator.is_valid(value))
        except NotJsonError:
            return False
        except (referencing.exceptions.Unresolvable, RecursionError) as error:
            told = "itself, without an end" if isinstance(error, RecursionError) else str(error)
            raise InputError(f"{self._file}: the schema refers to {told}.") from None


def _validator(schema: Mapping[str, Any], place: str) -> Any:
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.validators import extend, validator_for
    from referencing import Registry

    draft = validator_for(schema, default=Draft202012Validator)
    try:
        draft.check_schema(schema)
    except SchemaError as error:
        at = error.json_path.removeprefix("$")
        raise InputError(f"{place}{at}: not a valid JSON schema: {error.message}.") from None
    types = draft.TYPE_CHECKER.redefine_many({"number": _is_number, "integer": _is_integer})
    exact = extend(draft, {"multipleOf": _multiple}, type_checker=types)
    # Without an explicit registry it would resolve references over the network.
    found = exact(_with_decimals(schema), registry=Registry())
    for text in ("null", "0", '""', "[]", "{}"):  # detects a broken reference, unless nested deep
        JsonBySchema(found, "", False, place).valid(text)
    return found


def _is_number(_: Any, value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _is_integer(_: Any, value: Any) -> bool:
    return _is_number(_, value) and value == Decimal(value).to_integral_value()


def _multiple(_: Any, by: Any, value: Any, schema: Any) -> Iterator[Any]:
    """The keyword `multipleOf`, exact: in binary floating point 0.3 is no multiple of 0.1."""
    from jsonschema import ValidationError

    del schema
    if not _is_number(_, value):
        return
    exact = Decimal(value)
    near = not exact or abs(exact.adjusted()) <= _FARTHEST
    if not near or (Fraction(exact) / Fraction(by)).denominator != 1:
        yield ValidationError(f"{value} is not a multiple of {by}")


def _with_decimals(value: Any) -> Any:
    """The schema with floats as the decimals that were written."""
    if isinstance(value, dict):
        return {key: _with_decimals(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_decimals(item) for item in value]
    return Decimal(repr(value)) if isinstance(value, float) else value
