"""A suite's options, parsed from `--set key=value` and validated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args, get_origin

from brulee.errors import InputError
from brulee.evaluation.tasks import Suite
from brulee.recipe import Source, Strict, check
from brulee.yaml_lines import parse_scalar

_CHOOSING: Final = frozenset(("tasks", "subjects", "scenarios", "preset"))
_PLACES: Final = frozenset(("prompts",))


def parse_settings(settings: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """Parse `key=value` texts, each value as YAML. Raises InputError for one without `=`."""
    values = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise InputError(f"{option} {setting!r}: write it as key=value.")
        values[key.strip()] = parse_scalar(text)
    return values


def suite_options(suite: Suite, values: Mapping[str, Any], option: str = "--set") -> Strict:
    """A suite's options with these values; a list may be given as `a,b,c`.

    Raises InputError naming an unknown key, with the nearest valid one, or a wrong value.
    """
    lists = {
        name for name, field in suite.Options.model_fields.items() if _is_list(field.annotation)
    }
    split = {
        key: [part.strip() for part in str(value).split(",")]
        if key in lists and not isinstance(value, list)
        else value
        for key, value in values.items()
    }
    return check(suite.Options, split, Source(f"{option}, suite {suite.name}", {}, None), ())


def changed(options: Strict) -> dict[str, Any]:
    """The options that differ from the suite's defaults, except for file locations of prompts."""
    now, usual = options.model_dump(mode="json"), type(options)().model_dump(mode="json")
    return {key: value for key, value in now.items() if value != usual[key] and key not in _PLACES}


def protocol(options: Strict) -> dict[str, Any]:
    """The changed options that affect a task's score, as opposed to selecting tasks."""
    return {key: value for key, value in changed(options).items() if key not in _CHOOSING}


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(map(_is_list, get_args(annotation)))
