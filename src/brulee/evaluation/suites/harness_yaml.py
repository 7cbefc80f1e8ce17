"""Files of lm-evaluation-harness as plain values: includes are merged, code is rejected.

include: base.yaml           the keys of base.yaml, overridden by those of this file
doc_to_text: !function u.f   rejected: it would run Python code of the task's author
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from brulee.errors import InputError, unknown
from brulee.recipe.source import Source
from brulee.textfile import read_text
from brulee.yaml_lines import parse

SUFFIXES: Final = (".yaml", ".yml")
_NAME: Final = re.compile(r"^task:\s*['\"]?([\w.-]+)", re.MULTILINE)


@dataclass(frozen=True)
class Config:
    """The keys of one task or group, and their file, with the lines of its own keys."""

    values: dict[str, Any]
    source: Source
    folder: Path


def read_config(file: Path) -> Config:
    """Read a file and its includes.

    Raises InputError for malformed YAML, a `!function` (with its line), and a missing or circular
    include.
    """
    return _read(file, ())


def find_task(name: str, folder: Path) -> Config:
    """The task or group of that name in a folder or its subfolders."""
    named: dict[str, Path] = {}
    for file in sorted(f for suffix in SUFFIXES for f in folder.rglob(f"*{suffix}")):
        config = _own_keys(file)
        task = config.get("task")
        own = config.get("group", task)
        if isinstance(own, str):
            named.setdefault(own, file)
    if name not in named:
        raise unknown("task", name, named, f"the task files in {folder}")
    return read_config(named[name])


def tagged(tag: str, folder: Path) -> list[str]:
    """The names of the tasks with a tag in a folder or its subfolders."""
    found = []
    for file in sorted(f for suffix in SUFFIXES for f in folder.rglob(f"*{suffix}")):
        config = _own_keys(file)
        tags = config.get("tag")
        if tag in (tags if isinstance(tags, list) else [tags]) and isinstance(config["task"], str):
            found.append(config["task"])
    return found


def _read(file: Path, above: tuple[Path, ...]) -> Config:
    place = file.resolve()
    if place in above:
        raise InputError(f"{file}: it includes itself, by way of {above[-1].name}.")
    text = _text(file)
    _refuse_code(text, str(file))
    values, lines = parse(text, str(file))
    if not isinstance(values, dict):
        raise InputError(f"{file}: a task is a mapping of keys, as in `task: name`.")
    included = values.pop("include", [])
    merged: dict[str, Any] = {}
    for name in included if isinstance(included, list) else [included]:
        merged |= _read(file.parent / str(name), (*above, place)).values
    return Config({**merged, **values}, Source(str(file), lines, file.parent), file.parent)


def _text(file: Path) -> str:
    if not file.is_file():
        raise InputError(f"{file}: no such file.")
    return read_text(file)


def _refuse_code(text: str, where: str) -> None:
    """Raise InputError for the first `!function`."""
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.ScalarEvent) and event.tag == "!function":
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise InputError(
                    f"{where}, line {line}: !function {event.value} would run Python code of the "
                    "task's author, which brulee does not do; write a template."
                )
    except yaml.YAMLError:
        return  # parse() says what is malformed


def _own_keys(file: Path) -> dict[str, Any]:
    """The keys of a file; only the name of a malformed one, so that its error shows when used."""
    try:
        return {"task": None, **read_config(file).values}
    except InputError:
        named = _NAME.search(file.read_text(encoding="utf-8", errors="replace"))
        return {"task": named[1] if named else None}
