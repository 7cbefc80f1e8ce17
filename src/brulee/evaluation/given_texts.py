"""Scores of given texts against others, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, Generic, NamedTuple, TypeVar

import numpy as np

from brulee import progress
from brulee.errors import InputError
from brulee.evaluation.base import Array, Metric
from brulee.evaluation.stats import Interval, interval

Value = TypeVar("Value")
_WORTH_A_BAR: Final = 2_000  # items


class Placed(NamedTuple, Generic[Value]):
    """A value of a file, and its place there, for messages."""

    place: str
    value: Value


def check_needs_no_model(measure: Metric) -> None:
    """Raise InputError for a metric of what a model finds likely."""
    if measure.asks == "choices":
        raise InputError(
            f"metric {measure.keys[0]} asks a model for the likeliest answer choice, which "
            "texts alone do not show; use it in a recipe's metrics."
        )
    if measure.asks == "likelihood":
        raise InputError(
            f"metric {measure.keys[0]} asks a model how likely a text is, which texts alone "
            "do not show; in a recipe, plain text is measured by it."
        )


def score_texts(
    measure: Metric,
    predictions: Sequence[Placed[str]],
    against: Sequence[Placed[list[str]]],
    resamples: int,
    seed: int,
    groups: Sequence[str] | None,
) -> dict[str, Interval]:
    """The scores of a metric with their intervals, over the texts that each of them is for.

    `groups` name the group of each text; those of a group are drawn together. Raises InputError,
    naming both lines, for a text that cannot be scored.
    """
    items, scored = [], ", ".join(measure.keys)
    with progress.bar(f"Scoring {scored}", len(predictions), "items", _WORTH_A_BAR) as bar:
        for one, right in zip(predictions, against, strict=True):
            items.append(_statistics(measure, one, right))
            bar.advance()
    found = {}
    with progress.waiting(f"Drawing items anew, {resamples:,} times"):
        for key in measure.keys:
            having = [i for i, item in enumerate(items) if key in item]
            if not having:
                continue
            stats_NS = measure.join(key, np.array([items[i][key] for i in having]))
            reduce = partial(measure.reduce, key)
            own = [groups[i] for i in having] if groups else None
            found[key] = interval(stats_NS, reduce, resamples, seed, clusters=own)
    return found


def groups_of(named: Sequence[Placed[list[str]]]) -> list[str]:
    """The group of each text; a text without a group's name is its own group."""
    return [f"group {one.value[0]}" if one.value[0] else one.place for one in named]


def _statistics(
    measure: Metric, prediction: Placed[str], against: Placed[list[str]]
) -> dict[str, Array]:
    """A metric's statistics of one item; an error names the lines of both texts."""
    try:
        return measure.statistics(prediction.value, against.value)
    except InputError as error:
        raise InputError(f"{prediction.place}, and {against.place}: {error}") from None
