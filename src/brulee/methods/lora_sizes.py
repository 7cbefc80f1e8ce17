"""Rank and scale of each module; patterns can override them for some modules."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

from brulee.errors import InputError

N = TypeVar("N", int, float)


@dataclass(frozen=True)
class Size:
    """Rank of a correction, and the scale of its product."""

    rank: int
    scale: float


def sizes_of(
    names: Collection[str],
    rank: int,
    alpha: float,
    ranks: Mapping[str, int],
    alphas: Mapping[str, float],
    rslora: bool,
) -> dict[str, Size]:
    """The size of each module's correction.

    A pattern is a regular expression for the end of a module's path, starting at a dot; the first
    match counts, as in PEFT. The scale is alpha / rank, or with rsLoRA alpha / sqrt(rank)
    (Kalajdzievski 2023). Raises InputError for an invalid pattern or one that matches no target.
    """
    for option, patterns in (("ranks", ranks), ("alphas", alphas)):
        _check(option, patterns, names)
    found = {}
    for name in names:
        own_rank, own_alpha = _first(ranks, name, rank), _first(alphas, name, alpha)
        scale = own_alpha / (math.sqrt(own_rank) if rslora else own_rank)
        found[name] = Size(own_rank, scale)
    return found


def orderless(
    patterns: Mapping[str, N], names: Collection[str], renamed: Mapping[str, str] | None = None
) -> dict[str, N]:
    """Equivalent patterns that do not depend on their order: PEFT sorts them by key when it stores.

    `renamed` maps some modules to the names they have in the file.
    """
    matched = {name: [v for p, v in patterns.items() if _matches(p, name)] for name in names}
    if not renamed and all(len(set(values)) <= 1 for values in matched.values()):
        return dict(patterns)
    called = {name: (renamed or {}).get(name, name) for name in names}
    return {f"^{re.escape(called[name])}": values[0] for name, values in matched.items() if values}


def _first(patterns: Mapping[str, N], name: str, default: N) -> N:
    return next((v for p, v in patterns.items() if _matches(p, name)), default)


def _matches(pattern: str, name: str) -> bool:
    return re.match(rf"(.*\.)?({pattern})$", name) is not None


def _check(option: str, patterns: Mapping[str, object], names: Collection[str]) -> None:
    for pattern in patterns:
        try:
            used = any(_matches(pattern, name) for name in names)
        except re.error as error:
            raise InputError(
                f"method.{option}: {pattern!r} is not a regular expression: {error}."
            ) from None
        if not used:
            raise InputError(
                f"method.{option}: {pattern!r} matches none of the {len(names)} targets, "
                f"such as {next(iter(names))!r}."
            )
