"""The search space of a sweep: the recipe's own setting and others, all validated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from brulee.errors import InputError
from brulee.methods import METHODS, unknown_method
from brulee.methods.continuing import resolved
from brulee.recipe import Recipe, with_overrides
from brulee.recipe.axes import (
    METHOD,
    Axis,
    Choices,
    Range,
    check_keys,
    overrides_of,
    points,
    whole,
)

_MOST: Final = 10_000  # settings that can be listed
Point = dict[str, Any]  # a value for each axis's key; {} is the recipe's own setting


@dataclass(frozen=True)
class Space:
    """A recipe and the axes along which it varies.

    `applies` gives, for axes that only some methods have, the methods that have them.
    """

    recipe: Recipe
    axes: tuple[Axis, ...]
    applies: Mapping[str, frozenset[str]]

    def recipe_of(self, point: Mapping[str, Any], seed: int = 0) -> Recipe:
        """The recipe of a setting, with the recipe's own seed plus `seed`.

        Raises InputError for a setting that is not valid, naming the axis.
        """
        found = resolved(with_overrides(self.recipe, overrides_of(point)))
        if not seed:
            return found
        train = found.train.model_copy(update={"seed": found.train.seed + seed})
        return found.model_copy(update={"train": train})

    @property
    def had(self) -> Point:
        """The recipe's values for the axes' keys, whether or not they are on the axes."""
        values = resolved(self.recipe).to_dict()
        its_own = [axis for axis in self.axes if self.has(axis, values["method"]["name"])]
        return {axis.key: _at(values, axis.key) for axis in its_own}

    @property
    def own(self) -> Point:
        """The recipe's own setting as a point; {} if it is not on all axes."""
        found = self.had
        for axis in self.axes:
            if axis.key not in found:
                continue
            value = found[axis.key]
            inside = axis.contains(value) if isinstance(axis, Range) else value in axis.values
            if not inside:
                return {}
        return found

    @property
    def grid(self) -> list[Point] | None:
        """Every setting, the recipe's own first; None if there are too many to list."""
        listed = [_listed(axis) for axis in self.axes]
        axes = [axis for axis in listed if axis is not None]
        if len(axes) < len(listed) or math.prod(len(axis.values) for axis in axes) > _MOST:
            return None
        own = self.own
        return [own, *(p for p in points(axes, self.applies) if p != own)]

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that are tried."""
        named = next((axis for axis in self.axes if axis.key == METHOD), None)
        listed = named.values if isinstance(named, Choices) else ()
        return tuple(dict.fromkeys((self.recipe.method.name, *listed)))

    def has(self, axis: Axis, method: str) -> bool:
        """Whether an axis applies to a method."""
        return axis.key not in self.applies or method in self.applies[axis.key]

    def notes(self) -> list[str]:
        """Sentences on settings in which an axis does not apply."""
        found = []
        for key, methods in self.applies.items():
            without = [name for name in self.methods if name not in methods]
            if without:
                found.append(
                    f"{key} is not an option of {', '.join(without)}, which goes without it."
                )
        return found


def space(recipe: Recipe, axes: Sequence[Axis]) -> Space:
    """The settings of a sweep, all validated.

    Raises InputError for a key that is not valid or not for a sweep, a value that is not valid, and
    a combination of values that is refused.
    """
    if not axes:
        raise InputError(
            "a sweep needs an axis to go along: --set KEY=A,B,C (commas, no brackets) or --set "
            "KEY=LOW..HIGH, for instance --set train.learning_rate=1e-4..3e-3:log."
        )
    if recipe.method.start is not None and any(axis.key == METHOD for axis in axes):
        raise InputError(
            f"method.name is not for a sweep that starts from {recipe.method.start} "
            f"({recipe.source.at(('method', 'start'))}): the method is that of the adapter; leave "
            "out one of them."
        )
    if (count := math.prod(len(axis.ends) for axis in axes)) > _MOST:
        raise InputError(
            f"the lists make {count:,} settings, and {_MOST:,} can be checked; list fewer values, "
            "or write numbers as a range: LOW..HIGH."
        )
    found = Space(recipe, tuple(axes), _applies(axes))
    for point in points(axes, found.applies):
        _check(found, point)
    check_keys(axes)
    return Space(recipe, tuple(_sized(found, axis) for axis in axes), found.applies)


def _listed(axis: Axis) -> Choices | None:
    """An axis as a list of values, if they can be listed."""
    if isinstance(axis, Choices):
        return axis
    if not axis.whole or axis.high - axis.low > _MOST:
        return None
    return Choices(axis.key, tuple(range(int(axis.low), int(axis.high) + 1)))


def _applies(axes: Sequence[Axis]) -> dict[str, frozenset[str]]:
    named = next((axis for axis in axes if axis.key == METHOD), None)
    if named is None:
        return {}
    for name in named.ends:
        if name not in METHODS:
            raise unknown_method(str(name), f"--set {named.text}")
    found = {}
    for axis in axes:
        section, _, option = axis.key.partition(".")
        if section != "method" or axis is named:
            continue
        having = frozenset(n for n in named.ends if option in METHODS[n].Options.model_fields)
        # A key that no method has is reported when the first point is checked.
        if having:
            found[axis.key] = having
    return found


def _check(found: Space, point: Point) -> None:
    try:
        found.recipe_of(point)
    except InputError as error:
        if len(point) < 2:
            raise
        raise InputError(f"{error} (In the setting {', '.join(overrides_of(point))}.)") from None


def _sized(found: Space, axis: Axis) -> Axis:
    """The axis; a range over integers if its key takes only those."""
    if isinstance(axis, Choices):
        return axis
    point = next(p for p in points(found.axes, found.applies) if axis.key in p)
    try:
        found.recipe_of({**point, axis.key: axis.low + (axis.high - axis.low) / 2**0.5})
    except InputError:
        return whole(axis)
    return axis


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values
