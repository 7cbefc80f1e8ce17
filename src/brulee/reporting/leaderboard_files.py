"""Read scores from run folders, `brulee eval` and published lm-evaluation-harness results."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, islice
from pathlib import Path
from typing import Any, Final

from brulee.data.json_text import parse_json
from brulee.errors import InputError
from brulee.reporting import results as results_file
from brulee.reporting.leaderboard import Entry, in_unlike_phrasings, lower_is_better
from brulee.reporting.phrasings import asked_in, texts_of
from brulee.reporting.results import Results
from brulee.reporting.wording import known_bounds, method_name
from brulee.textfile import read_text

_Z: Final = 1.96  # half-width of a 95% interval in standard errors
# The harness's metric names that differ from those in results.json.
_HARNESS_METRICS: Final = {
    "acc": "accuracy", "mcc": "matthews", "em": "exact_match",
    "prompt_level_strict_acc": "prompt_strict", "prompt_level_loose_acc": "prompt_loose",
    "inst_level_strict_acc": "instruction_strict", "inst_level_loose_acc": "instruction_loose",
}  # fmt: skip


def read_all(arguments: Sequence[str]) -> list[Entry]:
    """The scores under each PATH or NAME=PATH, as `read_entries` reads them.

    Models that share a name, not given by NAME, but differ in a score or in a base's weights are
    not the same model: their paths are added to their names. A base's scores may differ if they are
    on different numbers of items. Means over different phrasings are different columns.
    """
    given = [read_entries(argument) for argument in arguments]
    apart = iter(in_unlike_phrasings([entry for entries in given for entry in entries]))
    read = [
        (*_split(argument), list(islice(apart, len(entries))))
        for argument, entries in zip(arguments, given, strict=True)
    ]
    scores: dict[tuple[str, tuple[str, str]], list[Entry]] = {}
    bases: dict[str, set[str]] = {}
    for name, _, entries in read:
        latest = {(e.model, e.column): e for e in entries if e.model != name}
        for key, entry in latest.items():
            scores.setdefault(key, []).append(entry)
            if entry.base:
                bases.setdefault(entry.model, set()).add(entry.base)
    several = {model for model, found in bases.items() if len(found) > 1} | {
        model
        for (model, _), found in scores.items()
        if any(a.contradicts(b) for a, b in combinations(found, 2))
    }
    return [
        replace(entry, model=f"{entry.model}, {path}")
        if entry.model in several and entry.model != name
        else entry
        for name, path, entries in read
        for entry in entries
    ]


def read_entries(argument: str) -> list[Entry]:
    """The scores under PATH or NAME=PATH; NAME renames the model, for a run its tuned model.

    PATH is a run folder (its own scores and those in its `suites/`), a folder or results.json of
    `brulee eval`, or a result file of lm-evaluation-harness or a folder of these.
    Raises InputError for a path that is none of these.
    """
    name, path = _split(argument)
    if path.is_dir() and (path / results_file.FILE_NAME).is_file():
        return _of_folder(path, name)
    if path.is_dir():
        files = sorted(path.rglob("results_*.json"))
        if not files:
            inside = sorted(file.parent for file in path.glob(f"*/{results_file.FILE_NAME}"))
            runs = f" Its folders hold some: name {' '.join(map(str, inside))}." if inside else ""
            raise InputError(
                f"{path}: neither {results_file.FILE_NAME} nor results_*.json of "
                f"lm-evaluation-harness is in this folder.{runs}"
            )
        return [entry for file in files for entry in _of_file(file, name)]
    return _of_file(path, name)


def _split(argument: str) -> tuple[str | None, Path]:
    """Split NAME=PATH, unless the whole argument is an existing path."""
    name, equals, path = argument.partition("=")
    if not equals or Path(argument).exists():
        return None, Path(argument)
    return name, Path(path)


def _of_folder(folder: Path, name: str | None) -> list[Entry]:
    found = results_file.read(folder)
    tuned, base = name or _tuned(folder.name, found), _base(name, found)
    entries = _ours(found, base, tuned, str(folder))
    for file in sorted(folder.glob(f"suites/*/{results_file.FILE_NAME}")):
        entries += _ours(results_file.read(file), base, tuned, str(file))
    return entries


def _of_file(file: Path, name: str | None) -> list[Entry]:
    if not file.is_file():
        raise InputError(f"{file}: no such file or folder.")
    values = parse_json(read_text(file), file)
    if isinstance(values, dict) and isinstance(values.get("results"), dict):
        return list(_harness(values, name or _harness_model(values, file), str(file)))
    found = results_file.read(file)
    return _ours(found, _base(name, found), name or _tuned(found.run, found), str(file))


def _ours(found: Results, base: str, tuned: str, source: str) -> list[Entry]:
    """Entries of a results.json: of both models for a run, of one for an evaluation.

    A suite with non-default options, or a mean over several phrasings, is a different task: the
    task's name says so.
    """
    mains, better = _mains(found), _directions(found)
    descriptive = {(pair.task, pair.metric) for pair in found.comparisons if pair.descriptive}
    asked = found.suite.asked if found.suite else ""
    otherwise = f" [{asked}]" if asked else ""
    return [
        Entry(
            base if score.who == "base" else tuned,
            score.task + otherwise + _over(found.over(score.task)),
            score.metric, score.value, low, high, score.n, source,
            (score.task, score.metric) in mains,
            better.get((score.task, score.metric), not lower_is_better(score.metric)),
            asked_in(found, score.task),
            texts_of(found, score.task),
            (score.task, score.metric) in descriptive,
            _weights(found) if score.who == "base" else "",
        )
        for score in found.scores
        for low, high in [known_bounds(score)]
    ]  # fmt: skip


def _weights(found: Results) -> str:
    """What identifies a base and how it was loaded; "" if an adapter was attached to it."""
    held = found.base.model_dump_json(exclude={"name", "start"})
    return "" if found.base.start else held


def _over(phrasings: int) -> str:
    return f" [{phrasings} phrasings]" if phrasings > 1 else ""


def _directions(found: Results) -> dict[tuple[str, str], bool]:
    """Whether higher is better for each score, as far as the file says."""
    pairs = (*found.comparisons, *found.forgetting)
    said = {(pair.task, pair.metric): pair.higher_is_better for pair in pairs}
    fewer = found.suite.lower_is_better if found.suite else None
    if fewer is None:
        return said
    return said | {(s.task, s.metric): f"{s.task} {s.metric}" not in fewer for s in found.scores}


def _tuned(run: str, found: Results) -> str:
    """A run's name with its tuning method, if it has one."""
    return run if found.method.name == "none" else f"{run} ({method_name(found.method)})"


def _base(name: str | None, found: Results) -> str:
    """The base's name: `name` if given and only the base was measured, else its own."""
    alone = all(score.who == "base" for score in found.scores)
    return name if name and alone else found.base.before


def _mains(found: Results) -> set[tuple[str, str]]:
    """The suite's average; without one, the first score of each task that no average covers."""
    firsts: dict[str, str] = {}
    for score in found.scores:
        firsts.setdefault(score.task, score.metric)
    suite = found.suite.name if found.suite else ""
    if suite in firsts:
        return {(suite, firsts[suite])}
    labels = found.suite.labels if found.suite else {}
    averages = {name.rpartition(" ")[0] for name in labels}
    covered = {task for task in firsts for a in averages if task.startswith(f"{a}/")}
    return {(task, metric) for task, metric in firsts.items() if task not in covered}


def _harness(values: dict[str, Any], model: str, source: str) -> Iterator[Entry]:
    """The first score of each task and group; a task inside a group is not a main score."""
    groups, members = (_part(values, source, key) for key in ("groups", "group_subtasks"))
    better, counted = (_part(values, source, key) for key in ("higher_is_better", "n-samples"))
    inside = {task for tasks in members.values() for task in tasks or ()}
    for task in values["results"]:
        found = _part(values["results"], f"{source}: results", task)
        names = [key for key in found if "," in key and "_stderr," not in key]
        for i, key in enumerate(names):
            if (value := _number(found[key], f"{source}: results.{task}.{key}")) is None:
                continue
            metric, _, chosen = key.partition(",")
            half = _half(found.get(f"{metric}_stderr,{chosen}"))
            higher = _part(better, f"{source}: higher_is_better", task).get(metric, True)
            yield Entry(
                model, task, _HARNESS_METRICS.get(metric, metric), value,
                None if half is None else value - half, None if half is None else value + half,
                _part(counted, f"{source}: n-samples", task).get("effective"), source,
                i == 0 and (task in groups or task not in inside), bool(higher),
            )  # fmt: skip


def _part(values: dict[str, Any], where: str, key: str) -> dict[str, Any]:
    """An object inside a file of the harness, empty if absent."""
    part = values.get(key) or {}
    if not isinstance(part, dict):
        raise InputError(f"{where}: {key} must be an object, not {str(part)[:40]!r}.")
    return part


def _number(value: Any, where: str) -> float | None:
    """A score; None for values that are not numbers, such as a task's alias."""
    if not isinstance(value, int | float):
        return None
    if not math.isfinite(value):
        raise InputError(f"{where} is {value}; every score must be finite.")
    return float(value)


def _half(error: Any) -> float | None:
    """The half-width of the interval; None if the standard error is not a number or NaN."""
    known = isinstance(error, int | float) and math.isfinite(error)
    return _Z * float(error) if known else None


def _harness_model(values: dict[str, Any], file: Path) -> str:
    name = values.get("model_name") or _part(values, str(file), "config").get("model_args")
    if not isinstance(name, str):
        return file.stem
    arguments = dict(part.partition("=")[::2] for part in name.split(","))
    return arguments.get("pretrained") or name
