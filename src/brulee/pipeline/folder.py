"""The folder of a run: whose it is, what it holds, and whether it may be continued."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from brulee.errors import InputError
from brulee.recipe import Recipe, load_recipe
from brulee.reporting.results import FILE_NAME as RESULTS

_PACKAGES = ("brulee", "torch", "transformers", "tokenizers", "datasets", "numpy", "sacrebleu")


@dataclass(frozen=True)
class RunFolder:
    """A run's folder and the recipe it belongs to; `command` is what began it."""

    path: Path
    recipe: Recipe
    command: str

    @property
    def finished(self) -> bool:
        """Whether the whole line was walked to its end."""
        return (self.path / RESULTS).is_file() and (self.path / "report.html").is_file()

    @property
    def resume_line(self) -> str:
        """The command that goes on with this run."""
        return f"brulee resume {self.path}"

    def answers(self, who: str, task: str) -> Path:
        """Where one model's answers to a task are kept."""
        return self.path / "eval" / who / f"{task.replace('/', '-')}.jsonl"

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """Write a file of the folder in one step."""
        aside = self.path / f".{name}.tmp"
        aside.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        aside.replace(self.path / name)

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder; {} where it is not written yet."""
        file = self.path / name
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def open_run(recipe: Recipe, command: str, folder: Path | None, fresh: bool) -> RunFolder:
    """The folder of a recipe, made if need be.

    Raises InputError when it already holds a different recipe, naming the first difference, or
    holds files that are not a run's.
    """
    path = folder or Path(recipe.runs) / (recipe.name or "run")
    if fresh and path.exists():
        _move_aside(path)
    held = path / "recipe.yaml"
    if held.is_file():
        _refuse_difference(path, recipe)
    elif path.exists() and any(path.iterdir()):
        raise InputError(f"{path}: this folder is not empty and holds no run; name another.")
    path.mkdir(parents=True, exist_ok=True)
    held.write_text(recipe.to_yaml(), encoding="utf-8")
    where = RunFolder(path, recipe, command)
    where.write_json("manifest.json", {**where.read_json("manifest.json"), **_origin(command)})
    return where


def reopen_run(path: Path) -> RunFolder:
    """A run that was begun before. Raises InputError for a folder that holds none."""
    if not (path / "recipe.yaml").is_file():
        raise InputError(f"{path}: no run is here; a run's folder holds recipe.yaml.")
    recipe = load_recipe(path / "recipe.yaml")
    manifest = path / "manifest.json"
    command = json.loads(manifest.read_text())["command"] if manifest.is_file() else "run"
    return RunFolder(path, recipe, command)


def _move_aside(path: Path) -> None:
    """Rename an earlier run to NAME.1, NAME.2 ...: nothing of it is lost."""
    number = 1
    while (target := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    path.rename(target)


def _refuse_difference(path: Path, recipe: Recipe) -> None:
    held = load_recipe(path / "recipe.yaml").to_dict()
    for key, before, now in _differences(held, recipe.to_dict()):
        raise InputError(
            f"{path}: this run folder already holds a different recipe: {key} is {before!r} there "
            f"and {now!r} now. Use --fresh to move it aside, or --folder to name another."
        )


def _differences(
    held: dict[str, Any], now: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    for key in [*held, *(k for k in now if k not in held)]:
        a, b = held.get(key), now.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            yield f"{prefix}{key}", a, b


def _origin(command: str) -> dict[str, Any]:
    return {
        "command": command,
        "arguments": sys.argv[1:],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "machine": machine(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide numbers."""
    installed = {p.metadata["Name"].lower() for p in metadata.distributions()}
    found = {name: metadata.version(name) for name in _PACKAGES if name in installed}
    return {"python": platform.python_version(), **found}


def machine() -> dict[str, str | int | float]:
    """What kind of machine this is; nothing that names it."""
    import torch

    found: dict[str, str | int | float] = {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": psutil.cpu_count(logical=True) or 1,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found
