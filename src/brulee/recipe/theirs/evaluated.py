"""Data sets that another tool evaluates on, as splits of the sources that it learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brulee.recipe.theirs.converted import Converted
from brulee.recipe.theirs.entries import Entry, Place, entries

_KEYS = ("test_datasets", "eval_dataset")
_PHRASED = ("templates", "columns")  # what rows of one source have in common


def evaluated(
    found: Converted, flat: Mapping[str, Any], at: Mapping[str, str], place: Place
) -> bool:
    """Add them to the first task whose rows are read alike; whether any is validated on.

    A data set of which the split called test is evaluated on becomes the task's test rows. Raises
    InputError as `entries` does.
    """
    key = next((key for key in _KEYS if flat.get(key)), None)
    if key is None:
        return False
    under = "datasets" if key == "test_datasets" else "dataset"
    values = {under: flat[key], "dataset_dir": flat.get("dataset_dir"), "stage": flat.get("stage")}
    splits: set[str] = set()
    for one in entries(values, found.tool.name, place, {**at, under: at[key]}):
        task = next((task for task in found.tasks if _phrasing(task) == _phrasing(one)), None)
        if task is None:
            why = "its rows are not read as those of a data set that is learned (data.source)"
            found.leave(f"{key}: {one.data['source']}", one.left.get("split", (None,))[0], why)
            continue
        named, _ = one.left.get("split", (None, ""))
        split = "test" if str(named).startswith("test") else "validation"
        _add(task, split, one.data["source"])
        splits.add(split)
    return "validation" in splits


def _phrasing(task: Entry) -> list[Any]:
    return [task.data.get(part) for part in _PHRASED]


def _add(task: Entry, split: str, source: str) -> None:
    sources = task.data["source"]
    if not isinstance(sources, dict):
        sources = task.data["source"] = {"train": sources}
    had = sources.get(split)
    sources[split] = source if had is None else [*([had] if isinstance(had, str) else had), source]
