"""The folder of a run: which recipe it belongs to, its files, and whether it can be continued."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from brulee.errors import InputError, nearest
from brulee.evaluation.answers import keep_just
from brulee.methods.continuing import resolved
from brulee.models.disk import nearest_folder, try_writing
from brulee.pipeline import kept_rows
from brulee.pipeline.aside import check_not_inside, move_aside, with_a_name
from brulee.pipeline.differences import Difference, of_scoring, of_training
from brulee.pipeline.origin import origin
from brulee.progress import note
from brulee.recipe import ADDED, MethodSpec, Recipe, load_recipe, recipe_from_dict
from brulee.recipe.given_rows import PREFIX
from brulee.reporting.results import FILE_NAME as RESULTS
from brulee.textfile import write_text

SWEEP_LOCK = ".sweep.lock"  # identifies a sweep's folder
_RECIPE, _MANIFEST = "recipe.yaml", "manifest.json"
_WRITTEN_UP = (RESULTS, "report.html")
_NAMED = 5  # differences that a message names
_BEGINNING = (_MANIFEST, "split.json", _RECIPE)
# What must not change before a run is continued, by its key in the manifest.
_FIXED = {
    "base": "the base model",
    "framing": "the chat template or the tokenizer",
    "data": "the data",
    "templates": "the templates",
    "start": "the adapter that training starts from",
}


@dataclass
class RunFolder:
    """A run's folder and the recipe it belongs to; `command` is the command that began it.

    `fresh`: the folder holds another run, which is moved aside when this one begins. `dated` is the
    day for a run that has not begun; today's by default.
    """

    path: Path
    recipe: Recipe
    command: str
    fresh: bool = False
    dated: date | None = None

    @property
    def begun(self) -> bool:
        """Whether the folder holds this run, so that it can be resumed."""
        return not self.fresh and (self.path / _RECIPE).is_file()

    @cached_property
    def day(self) -> date:
        """The day on which the run begins or began, which chat templates may print."""
        began = self.manifest().get("day")
        return date.fromisoformat(began) if began else self.dated or date.today()

    @property
    def scored(self) -> bool:
        """Whether the run was completed, perhaps with other scoring."""
        return self.begun and all((self.path / name).is_file() for name in _WRITTEN_UP)

    @property
    def finished(self) -> bool:
        """Whether the run was completed with this recipe's scoring."""
        return self.scored and not any(of_scoring(_held(self.path), self.recipe))

    @property
    def resume_line(self) -> str:
        """The command that continues this run."""
        return f"brulee resume {shlex.quote(str(self.path))}"

    def begin(self, facts: dict[str, Any], split: dict[str, Any]) -> None:
        """Write the recipe, the manifest with the facts of data and model, and split.json.

        If the scoring has changed, the earlier results and their report are kept as results.1.json
        and report.1.html, then 2 and so on. Raises InputError if an earlier part of this run was
        made from other data, other templates or another base.
        """
        if self.fresh:
            self._move_aside()
        manifest = self.manifest()
        for key, what in _FIXED.items():
            if key in manifest and manifest[key] != json.loads(json.dumps(facts[key])):
                raise InputError(
                    f"{self.path}: {what} changed since this run began ({_MANIFEST}, {key!r}): "
                    f"{_difference(manifest[key], facts[key])}. Restore the original, or start "
                    "over with --fresh, which moves the run aside."
                )
        self.path.mkdir(parents=True, exist_ok=True)
        if manifest:
            self._begin_to_score()
        kept_rows.keep_rows(self.recipe, self.path)
        written = {**manifest, **origin(self.command), **facts}
        if not manifest:
            written["day"] = self.day.isoformat()
            written["recipe_folder"] = str(self.recipe.source.folder or Path.cwd())
        written["recipe"] = self.recipe.to_dict()
        self.write_json(_MANIFEST, written)
        self.write_json("split.json", split)
        # Last: a folder with a recipe counts as a run, so all else must exist.
        write_text(self.path / _RECIPE, self.recipe.to_yaml())

    def _move_aside(self) -> None:
        """Rename an earlier run to NAME.1, NAME.2 ..., so that nothing is lost."""
        source, kept = self.recipe.source, self.path / kept_rows.FOLDER
        own = source.rows is not None and source.rows == kept.resolve()
        target = move_aside(self.path)
        if own:  # the recipe was read from that run
            source.rows = target / kept_rows.FOLDER
        self.fresh = False

    def _begin_to_score(self) -> None:
        """Note how the scoring changed, and keep the previous results."""
        changed = list(of_scoring(_held(self.path), self.recipe))
        if not changed:
            return
        if any((self.path / name).is_file() for name in _WRITTEN_UP):
            kept = _number_aside(self.path)
            said = ", ".join(f"{key} was {before!r} and is {now!r}" for key, before, now in changed)
            note(f"{self.path}: scored again, because {said}. {kept} has the previous scores.")

    def manifest(self) -> dict[str, Any]:
        """The manifest of this run; {} if it has not begun."""
        return manifest_of(self.path) if self.begun else {}

    def answers(self, who: str, task: str) -> Path:
        """The file of one model's answers to a task."""
        return self.path / "eval" / who / f"{task.replace('/', '-')}.jsonl"

    def set_aside_answers(self, who: str, tasks: Collection[str]) -> None:
        """Set aside a model's answers to all other tasks, so that they are not scored."""
        wanted = {self.answers(who, task) for task in tasks}
        for file in sorted((self.path / "eval" / who).glob("*.jsonl")):
            if file not in wanted:
                keep_just(file, ())

    def add_seconds(self, who: str, seconds: float) -> float:
        """Add to the total time of a model's answers over all starts; returns the sum."""
        name = "eval/seconds.json"
        taken = _read_json(self.path / name)
        taken[who] = taken.get(who, 0.0) + seconds
        (self.path / "eval").mkdir(exist_ok=True)
        self.write_json(name, taken)
        return float(taken[who])

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """Write a JSON file of the folder atomically."""
        text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
        write_text(self.path / name, text)


def open_run(recipe: Recipe, command: str, folder: Path | None, fresh: bool) -> RunFolder:
    """A recipe's folder, with the method's defaults resolved; nothing is written until it begins.

    Raises InputError if it already holds a different recipe, naming the first difference, or files
    that are not a run's; OSError if it is not writable.
    """
    path = with_a_name(folder or Path(recipe.runs) / (recipe.name or "run"))
    _refuse_itself(path, recipe)
    recipe = resolved(recipe if fresh else _as_begun(path, recipe))
    parent = nearest_folder(path, "the run's folder")
    holds_run = (path / _RECIPE).is_file()
    if not holds_run and path.exists() and not _is_left_over(path):
        raise InputError(f"{path}: this folder is not empty and holds no run; name another.")
    if holds_run and fresh:
        check_not_inside(path)
    elif holds_run:
        _refuse_difference(path, recipe)
    where = RunFolder(path, recipe, command, fresh and holds_run)
    if not where.finished:
        try_writing(parent)
    return where


def reopen_run(path: Path) -> RunFolder:
    """A run that has begun. Raises InputError for a folder without one."""
    path = with_a_name(path)
    check_is_run(path)
    recipe = resolved(load_recipe(path / _RECIPE))
    manifest = _read_json(path / _MANIFEST)
    for key, before, now in _changed(path, recipe):
        raise InputError(
            f"{path / _RECIPE}: {key} was {before!r} when this run began and is {now!r} now. "
            "Change it back, or start another run with it: brulee run RECIPE --folder NEW."
        )
    # Relative paths in the recipe are relative to the folder of the original file.
    if "recipe_folder" in manifest:
        recipe.source.folder = Path(manifest["recipe_folder"])
    return RunFolder(path, recipe, manifest.get("command", "run"))


def check_is_run(path: Path) -> None:
    """Raise InputError for a folder without a run, suggesting the nearest one with a run."""
    if not (path / _RECIPE).is_file():
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        close = nearest(path.name, [p.name for p in beside if (p / _RECIPE).is_file()])
        hint = f" Did you mean {path.with_name(close[0])}?" if close else ""
        if (path / SWEEP_LOCK).is_file():
            hint = " This is a sweep's folder; run the same `brulee sweep` again to continue it."
        raise InputError(f"{path}: no run is here; a run's folder holds {_RECIPE}.{hint}")


def _is_left_over(folder: Path) -> bool:
    """Whether a folder is empty, or only has files of a run that was killed as it began."""
    own = {name for kept in _BEGINNING for name in (kept, f".{kept}.tmp")}
    rows = folder / kept_rows.FOLDER
    begun = not rows.is_dir() or kept_rows.is_begun(rows)
    return begun and all(file.name in {*own, rows.name} for file in folder.iterdir())


def _difference(before: Any, now: Any) -> str:
    """What differs between two values of the manifest: of files, only those that do."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return f"it was {before} and is {now}"
    said = [f"{name} is new" for name in now if name not in before]
    said += [f"{name} is missing" for name in before if name not in now]
    said += [
        f"{name} was {before[name]} and is {now[name]}"
        for name in before
        if name in now and before[name] != now[name]
    ]
    further = f" and {len(said) - _NAMED:,} more" if len(said) > _NAMED else ""
    return ", ".join(said[:_NAMED]) + further


def manifest_of(run: Path) -> dict[str, Any]:
    """The manifest in a run's folder; {} if there is none."""
    return _read_json(run / _MANIFEST)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise InputError(
            f"{path}: not a JSON object; delete it, or start over with --fresh."
        ) from None


def _number_aside(run: Path) -> str:
    """Rename results and report to results.1.json, report.1.html ...; the results' new name."""
    number = 1
    while any((run / _numbered(name, number)).exists() for name in _WRITTEN_UP):
        number += 1
    for name in _WRITTEN_UP:
        if (run / name).is_file():
            (run / name).rename(run / _numbered(name, number))
    return _numbered(RESULTS, number)


def _numbered(name: str, number: int) -> str:
    stem, suffix = name.split(".")
    return f"{stem}.{number}.{suffix}"


def _refuse_difference(path: Path, recipe: Recipe) -> None:
    for key, before, now in _changed(path, recipe):
        rows = all(str(source).startswith(PREFIX) for source in (before, now))
        held = "a run on other rows" if rows else "a different recipe"
        raise InputError(
            f"{path}: this run folder already holds {held}: {key} is {before!r} there "
            f"and {now!r} now. Use --fresh to move it aside, or --folder to name another."
        )


def _refuse_itself(path: Path, recipe: Recipe) -> None:
    """Refuse to train into the folder of the adapter that training starts from."""
    if recipe.method.start is None:
        return
    start = recipe.source.resolve(recipe.method.start).resolve()
    if path.resolve() in (start, *start.parents):
        raise InputError(
            f"{recipe.source.at(('method', 'start'))}: {recipe.method.start} is in {path}, the "
            "folder of this run itself; name another folder for the run: --folder NEW."
        )


def _as_begun(path: Path, recipe: Recipe) -> Recipe:
    """The recipe with the options that the run in a folder took from its start.

    The start may be gone now; if it was replaced, it is refused by its digest, not by its options.
    """
    spec = recipe.method
    if spec.start is None or not (path / _RECIPE).is_file():
        return recipe
    begun = _read_json(path / _MANIFEST).get("recipe", {})
    held = begun.get("method", {})
    own = spec.model_dump(exclude_unset=True)
    gone = not recipe.source.resolve(spec.start).exists()
    if held.get("start") != spec.start or own.get("name", held["name"]) != held["name"]:
        return recipe
    if spec.options() and not gone:
        return recipe
    changed: dict[str, Any] = {"method": MethodSpec(**{**held, **own})}
    tokens = {key: begun["model"][key] for key in ADDED if begun.get("model", {}).get(key)}
    if tokens and not any(getattr(recipe.base, key) for key in ADDED):
        changed["model"] = recipe.base.model_copy(update=tokens)
    return recipe.model_copy(update=changed)


def _changed(path: Path, recipe: Recipe) -> Iterator[Difference]:
    """Where the training of a recipe differs from that of the run in a folder.

    The comparison is with what the run began with, even if its recipe file was edited since.
    """
    return of_training(_held(path), recipe)


def _held(path: Path) -> Recipe:
    """The recipe that the run in a folder began with."""
    written = _read_json(path / _MANIFEST).get("recipe")
    return resolved(load_recipe(path / _RECIPE) if written is None else recipe_from_dict(written))
