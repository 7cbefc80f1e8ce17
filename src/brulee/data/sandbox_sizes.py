"""Sizes of values, and bounds on the size of an operation's result before it is computed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Undefined
from jinja2.exceptions import SecurityError

MAX_LENGTH = 1_000_000
_MAX_BITS = 4096
_DEEPEST = 40
# The weight of each item of a list or mapping, in addition to the item's own.
_ITEM = 10
_MOST_STEPS = 10**8
_ALL = {"translate", "maketrans", "striptags", "unescape", "__mod__", "to_bytes"}
# Quadratic in C: from the right, or for each character of a set.
_SLOW = {"rfind", "rindex", "rsplit", "rpartition", "strip", "lstrip", "rstrip", "trim"}
_NUMBERED = {"center", "ljust", "rjust", "zfill", "expandtabs", "batch", "slice", "truncate"}
# These modify the object they are called on, which is weighed when it is read.
_CHANGING = {"append", "extend", "insert", "update", "add", "setdefault"}


def weigh(value: Any, depth: int = 0) -> int:
    """The weight of a value: its characters and items, nested ones included.

    Raises SecurityError past a million, which also bounds the time this takes, for a number of
    more than 4,096 bits, for nesting of more than 40 levels (or cycles), and for a method in a
    list.
    """
    if isinstance(value, str) and len(value) <= MAX_LENGTH:
        return len(value)
    if isinstance(value, int):
        if value.bit_length() > _MAX_BITS:
            raise SecurityError(f"it makes a number of more than {_MAX_BITS} bits")
        return 1
    if depth and callable(value) and not isinstance(value, Undefined):
        raise SecurityError("it puts a method into a list; call it with ()")
    if not isinstance(value, (list, tuple, dict, set, frozenset)):
        weight = len(value) if isinstance(value, (str, bytes)) else 1
    elif depth > _DEEPEST:
        raise SecurityError(f"it builds a value nested more than {_DEEPEST} deep")
    else:
        weight = len(value) * _ITEM
        items = [*value, *value.values()] if isinstance(value, dict) else value
        for item in items if weight <= MAX_LENGTH else ():
            weight += weigh(item, depth + 1)
            if weight > MAX_LENGTH:
                break
    if weight > MAX_LENGTH:
        raise SecurityError(f"it builds a value longer than {MAX_LENGTH:,}")
    return weight


def check_arguments(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Reject a call of a method or filter whose result would be too large or take too long.

    The first of `args` is the method's object or the filter's input.
    """
    weights = [weigh(a) for a in (*args[name in _CHANGING :], *kwargs.values())]
    if name in _ALL:
        raise SecurityError(f"{name} may not be used in a template")
    values = (*args, *kwargs.values())
    if name in _NUMBERED and _largest(values) > MAX_LENGTH:
        raise SecurityError(f"{name} pads past {MAX_LENGTH:,} characters")
    if name in _SLOW and _product(values) > _MOST_STEPS:
        raise SecurityError(f"{name} of texts this long takes too long")
    predict = _PREDICTED.get(name)
    if predict is not None and predict(values, weights) > MAX_LENGTH:
        raise SecurityError(f"{name} makes a value longer than {MAX_LENGTH:,}")


def check_operands(operator: str, left: Any, right: Any) -> None:
    """Reject an operation whose result would be too large."""
    weights = [weigh(left), weigh(right)]
    numbers = [abs(v) for v in (left, right) if isinstance(v, int)]
    if len(numbers) == 2:
        if _bits(operator, *numbers) > _MAX_BITS:
            raise SecurityError(f"{operator} makes a number of more than {_MAX_BITS} bits")
        return
    too_long = (
        (operator == "+" and sum(weights) > MAX_LENGTH)
        or (operator == "*" and numbers and max(weights) * numbers[0] > MAX_LENGTH)
        or (operator == "%" and _percent((left, right), weights) > MAX_LENGTH)
    )
    if too_long:
        raise SecurityError(f"{operator} makes a value longer than {MAX_LENGTH:,}")


def _bits(operator: str, left: int, right: int) -> int:
    return left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()


def _largest(values: tuple[Any, ...]) -> int:
    """The largest absolute number after the first value."""
    return max((abs(v) for v in values[1:] if isinstance(v, int)), default=0)


def _product(values: tuple[Any, ...]) -> int:
    texts = [len(v) for v in values if isinstance(v, (str, bytes))]
    return texts[0] * max(texts[1:], default=0) if len(texts) > 1 else 0


# Below: upper bounds of a result's length, from the values and their weights.


def _braces(values: tuple[Any, ...], weights: list[int]) -> int:
    text = values[0]
    if not isinstance(text, str):
        return MAX_LENGTH + 1
    if re.search(r"\{[^{}]*:[^{}]*\{", text):  # a width from an argument
        return MAX_LENGTH + 1
    return len(text) + text.count("{") * (_number(text) + max(weights[1:], default=0))


def _percent(values: tuple[Any, ...], weights: list[int]) -> int:
    text = values[0]
    if not isinstance(text, (str, bytes)):
        return 0
    text = text.decode("latin-1") if isinstance(text, bytes) else text
    if "%" in text and "*" in text:  # a width from an argument
        return MAX_LENGTH + 1
    return len(text) + text.count("%") * (_number(text) + max(weights[1:], default=0))


def _number(text: str) -> int:
    digits = max(re.findall("[0-9]+", text), key=len, default="0")
    return max(map(int, re.findall("[0-9]+", text)), default=0) if len(digits) < 8 else MAX_LENGTH


def _join(values: tuple[Any, ...], weights: list[int]) -> int:
    """For both `separator.join(items)` and `items | join(separator)`."""
    texts = [len(v) for v in values if isinstance(v, (str, bytes))]
    lists = [len(v) for v in values if isinstance(v, (list, tuple, dict))]
    counts = lists or texts
    return sum(weights) + max(counts, default=0) * min(texts, default=0)


def _replace(values: tuple[Any, ...], weights: list[int]) -> int:
    if not all(isinstance(v, (str, bytes)) for v in values[:3]) or len(values) < 3:
        return sum(weights)
    text, old, new = values[:3]
    return len(text) + text.count(old) * len(new) if type(text) is type(old) else sum(weights)


def _times(values: tuple[Any, ...], weights: list[int]) -> int:
    text = values[0]
    lines = text.count("\n") + text.count("\t") + 1 if isinstance(text, str) else weights[0]
    widest = max([_largest(values), *weights[1:]])
    return weights[0] + lines * widest


def _digits(values: tuple[Any, ...], _weights: list[int]) -> int:
    return _largest(values) * 1000


_PREDICTED: dict[str, Callable[[tuple[Any, ...], list[int]], int]] = {
    "%": _percent,
    "expandtabs": _times,
    "format": _braces,
    "format_map": _braces,
    "indent": _times,
    "join": _join,
    "replace": _replace,
    "round": _digits,
    "tojson": _times,
}
