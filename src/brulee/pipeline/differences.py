"""Differences of two recipes: in what affects the weights, or only in the scoring.

The former must not change once a run has begun, the latter may. Scoring is given by `evaluate` and
the tasks' own `metrics`. Trackers affect neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from brulee.recipe import Recipe

Difference = tuple[str, Any, Any]  # the key, its value before, its value now


def of_training(before: Recipe, now: Recipe) -> Iterator[Difference]:
    """Differences in data, model, method and training."""
    return _differences(_training(before), _training(now))


def of_scoring(before: Recipe, now: Recipe) -> Iterator[Difference]:
    """Differences in the scoring."""
    return _differences(_scoring(before), _scoring(now))


def _training(recipe: Recipe) -> dict[str, Any]:
    values = recipe.to_dict()
    del values["evaluate"], values["train"]["trackers"]
    for task in _tasks(values["data"]):
        del task["metrics"]
    return values


def _scoring(recipe: Recipe) -> dict[str, Any]:
    values = recipe.to_dict()
    metrics = [task["metrics"] for task in _tasks(values["data"])]
    # Default metrics and the same metrics by name are equal.
    values["evaluate"]["metrics"] = recipe.evaluate.of_answers
    own = {at: spec for (at, _), spec in zip(recipe.tasks, metrics, strict=True)}
    named = {".".join(map(str, (*at, "metrics"))): spec for at, spec in own.items()}
    return {"evaluate": values["evaluate"], **named}


def _tasks(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The sections of all tasks in a `data` section, in reading order."""
    if "tasks" not in data:
        yield data
        return
    for member in data["tasks"]:
        yield from _tasks(member)


def _differences(
    held: dict[str, Any], now: dict[str, Any], prefix: str = ""
) -> Iterator[Difference]:
    for key in [*held, *(k for k in now if k not in held)]:
        a, b = held.get(key), now.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            yield f"{prefix}{key}", a, b
