"""The axes of a sweep: keys of a recipe with the values to try.

    method.rank=4,8,16               these values
    train.learning_rate=1e-4..3e-3   any value between, uniformly; with :log, log-uniformly

A key with one value is an override, as in `brulee run --set`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from brulee.errors import InputError
from brulee.yaml_lines import parse_scalar

METHOD: Final = "method.name"
START: Final = "method.start"
# Keys that affect the weights, but neither the rows nor how they are measured.
TRAIN: Final = (
    "epochs", "max_steps", "learning_rate", "schedule", "warmup", "min_rate", "cooldown",
    "num_cycles", "power", "decay_type", "batch_size", "accumulation", "optimizer",
    "weight_decay", "beta1", "beta2", "epsilon", "neftune_alpha", "prompt_loss_weight",
    "label_smoothing", "max_grad_norm", "precision", "embedding_learning_rate", "shuffle",
    "keep_best", "patience",
)  # fmt: skip
_INSTEAD: Final = {
    START: "trials are compared with one and the same model before",
    "train.seed": "--seeds N trains every setting with N seeds",
    "train.max_length": "it decides which rows there are to validate on",
}
_NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE: Final = re.compile(rf"({_NUMBER})(?<!\.)\.\.(?!\.)({_NUMBER})(?::(\w+))?")
_LIKE_RANGE: Final = re.compile(rf"{_NUMBER}\s*\.\.|\.\.\s*{_NUMBER}$|{_NUMBER}.*:log$")


@dataclass(frozen=True)
class Choices:
    """An axis of listed values."""

    key: str
    values: tuple[Any, ...]

    @property
    def text(self) -> str:
        """As typed on the command line."""
        return f"{self.key}={','.join(map(written, self.values))}"

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that have to be valid."""
        return self.values


@dataclass(frozen=True)
class Range:
    """An axis of all numbers from `low` to `high`; only integers if `whole`."""

    key: str
    low: float
    high: float
    log: bool
    whole: bool = False

    @property
    def text(self) -> str:
        """As typed on the command line."""
        return f"{self.key}={self.low:g}..{self.high:g}{':log' if self.log else ''}"

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that have to be valid."""
        return self.low, self.high

    def contains(self, value: Any) -> bool:
        """Whether a value lies in it."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high


Axis = Choices | Range


def split_axes(texts: Iterable[str]) -> tuple[list[Axis], list[str]]:
    """The axes among `KEY=VALUE` texts, and the overrides.

    Raises InputError for an invalid range or list, and for a key given twice.
    """
    axes: list[Axis] = []
    fixed: list[str] = []
    for text in texts:
        key, equals, value = text.partition("=")
        axis = _axis(key.strip(), value.strip(), f"--set {text}") if equals else None
        if axis is None:
            fixed.append(text)
        else:
            axes.append(axis)
    return _ordered(axes, [text.partition("=")[0].strip() for text in fixed]), fixed


def axes_of(given: Mapping[str, Any] | Iterable[str]) -> tuple[list[Axis], list[str]]:
    """The axes and the overrides that a Python caller gives.

    Texts are as on the command line; a mapping has lists of values, or texts such as
    "1e-4..3e-3:log". Raises InputError as `split_axes`, and for a single text.
    """
    if isinstance(given, str):
        raise InputError(f"axes must be a mapping or a list of texts; write [{given!r}].")
    if not isinstance(given, Mapping):
        return split_axes(given)
    axes: list[Axis] = []
    fixed: list[str] = []
    for key, values in given.items():
        if isinstance(values, str):
            more, texts = split_axes([f"{key}={values}"])
            axes, fixed = [*axes, *more], [*fixed, *texts]
        elif isinstance(values, Sequence) and len(values) > 1:
            axes.append(_choices(key, list(values), f"axes[{key!r}]"))
        else:
            one = values[0] if isinstance(values, Sequence) and len(values) == 1 else values
            fixed.append(f"{key}={written(one)}")
    return _ordered(axes, [text.partition("=")[0] for text in fixed]), fixed


def check_keys(axes: Iterable[Axis]) -> None:
    """Raise InputError for an axis under which trials could not be compared."""
    for axis in axes:
        section, _, key = axis.key.partition(".")
        if (section == "method" and axis.key != START) or (section == "train" and key in TRAIN):
            continue
        reason = _INSTEAD.get(axis.key)
        if reason is None and section not in ("method", "train"):
            reason = "trials are compared on the same model and the same validation rows"
        elif reason is None:
            reason = "it changes nothing of what is learned"
        valid = ", ".join(("method.*", *(f"train.{name}" for name in TRAIN)))
        raise InputError(
            f"--set {axis.text}: {axis.key} is not for a sweep: {reason}. Axes are {valid}."
        )


def points(axes: Sequence[Axis], applies: Mapping[str, frozenset[str]]) -> Iterator[dict[str, Any]]:
    """Every combination of the ends of the axes; for lists alone, the whole grid.

    `applies` gives, for axes that only some methods have, the methods that have them; points of
    other methods leave them out.
    """
    if not axes:
        yield {}
        return
    *rest, last = axes
    for point in points(rest, applies):
        methods = applies.get(last.key)
        if methods is not None and point.get(METHOD) not in methods:
            yield point
            continue
        for value in last.ends:
            yield {**point, last.key: value}


def overrides_of(point: Mapping[str, Any]) -> list[str]:
    """A combination as texts for `--set`."""
    return [f"{key}={written(value)}" for key, value in point.items()]


def written(value: Any) -> str:
    """A value as `--set` reads it back."""
    bare = isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w./-]*", value)
    if bare and isinstance(parse_scalar(value), str):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def whole(axis: Range) -> Range:
    """The same range over integers; raises InputError if its ends are not integers."""
    if not (float(axis.low).is_integer() and float(axis.high).is_integer()):
        raise InputError(f"--set {axis.text}: {axis.key} is a whole number; give whole ends.")
    return replace(axis, low=int(axis.low), high=int(axis.high), whole=True)


def _axis(key: str, value: str, where: str) -> Axis | None:
    if found := _RANGE.fullmatch(value):
        return _range(key, found, where)
    if _LIKE_RANGE.search(value) and "," not in value:
        raise InputError(
            f"{where}: a range is LOW..HIGH with two numbers, or LOW..HIGH:log, for instance "
            "1e-4..3e-3:log."
        )
    parts = _parts(value)
    if len(parts) < 2:
        return None
    if not all(parts):
        raise InputError(f"{where}: there is no value between two commas.")
    for part in parts:
        if _RANGE.fullmatch(part):
            raise InputError(
                f"{where}: a range cannot be combined with other values; list values, or give one "
                "range."
            )
    return _choices(key, [parse_scalar(part) for part in parts], where)


def _range(key: str, found: re.Match[str], where: str) -> Range:
    low, high = (parse_scalar(text) for text in found.group(1, 2))
    if found[3] not in (None, "log"):
        raise InputError(f"{where}: {found[3]!r} is not a scale; write LOW..HIGH or LOW..HIGH:log.")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"{where}: a range goes from a lower number to a higher one.")
    if found[3] and low <= 0:
        raise InputError(f"{where}: a logarithm needs a range above 0; it begins at {low:g}.")
    return Range(key, low, high, found[3] is not None)


def _choices(key: str, values: list[Any], where: str) -> Choices:
    texts = [json.dumps(value, sort_keys=True, default=str) for value in values]
    for value, text in zip(values, texts, strict=True):
        if texts.count(text) > 1:
            raise InputError(f"{where}: {written(value)} is listed twice.")
    return Choices(key, tuple(values))


def _ordered(axes: list[Axis], fixed: list[str]) -> list[Axis]:
    """The axes with the method's name first, since the other options belong to it."""
    keys = [*(axis.key for axis in axes), *fixed]
    for axis in axes:
        if keys.count(axis.key) > 1:
            raise InputError(f"--set {axis.text}: {axis.key} is given twice.")
    return sorted(axes, key=lambda axis: axis.key != METHOD)


def _parts(text: str) -> list[str]:
    """Split a text at commas outside brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        depth += 0 if quote else (letter in "[{(") - (letter in ")}]")
        if letter == "," and not quote and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]
