"""`--set a.b=c`: one value of a recipe changed from the command line."""

from __future__ import annotations

from typing import Any, Final

from brulee.errors import InputError
from brulee.yaml_lines import KeyPath, parse_scalar

_DIGITS: Final = 18


def apply(values: dict[str, Any], override: str) -> KeyPath:
    """Change `values` in place; returns the path of the changed key.

    `data.0.limit=10` and `data.tasks.0.limit=10` reach into a list. Raises InputError for a text
    without `=`, and for a path through something that has no keys.
    """
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {override!r}: write it as key.subkey=value.")
    path = tuple(map(_part, key.strip().split(".")))
    *parents, last = path
    target: Any = values
    for depth, part in enumerate(parents):
        target = _child(target, part, override, path[: depth + 1])
    value = parse_scalar(text)
    named = path == ("method", "name") and isinstance(target, dict)
    if named and target.get("name") != value:
        # The file's options and learning rate for another method do not carry over; an adapter to
        # start from is no option, and is refused if it is of another method.
        start = {key: target[key] for key in ("start",) if key in target}
        target.clear()
        target.update(start)
        if isinstance(values.get("train"), dict):
            values["train"].pop("learning_rate", None)
    if isinstance(target, list):
        _member(target, last, override, path)
    target[last] = value
    return path


def _part(text: str) -> str | int:
    # No list is so long that a longer number is in it, and Python reads no number of 4,301 digits.
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else text


def _child(target: Any, part: str | int, override: str, path: KeyPath) -> Any:
    if isinstance(target, list):
        child = _member(target, part, override, path)
    else:
        child = target.get(part)
        if child is None or (part == "model" and isinstance(child, str)):
            child = target[part] = {"name": child} if isinstance(child, str) else {}
    if not isinstance(child, dict | list):
        raise InputError(f"--set {override}: {_dotted(path)} is not a section that has keys.")
    return child


def _member(target: list[Any], part: str | int, override: str, path: KeyPath) -> Any:
    if not isinstance(part, int) or part >= len(target):
        there = f"one of 0 to {len(target) - 1}" if target else "in it"
        raise InputError(
            f"--set {override}: {_dotted(path[:-1])} is a list of {len(target)}; "
            f"{part!r} is not {there}."
        )
    return target[part]


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))
