"""A recipe read from YAML, with overrides."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from brulee.errors import InputError, nearest
from brulee.recipe import given_rows
from brulee.recipe.overrides import apply
from brulee.recipe.recipe import Recipe
from brulee.recipe.source import Source
from brulee.recipe.validation import check
from brulee.shell import word
from brulee.textfile import read_text
from brulee.yaml_lines import parse

# Suffixes of data files; a recipe may be .yaml, .yml or .json.
_ROWS = (
    ".jsonl",
    ".ndjson",
    ".jsonlines",
    ".csv",
    ".tsv",
    ".parquet",
    ".arrow",
    ".gz",
    ".zst",
    ".xz",
    ".bz2",
)


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe file and apply `a.b=c` overrides, in their order.

    An override that changes `method.name` drops the method's options and the learning rate that
    the file sets.

    Raises InputError naming the file and line of an unknown key (with the nearest valid one),
    a value of the wrong type, or malformed YAML.
    """
    if not isinstance(path, str | Path):
        raise InputError(
            f"a recipe's file is a path, not an object of type {type(path).__name__}; "
            "recipe_from_dict(VALUES) makes a recipe of values."
        )
    if "\n" in str(path):
        raise InputError(
            "a recipe's file is a path, not the text in it; recipe_from_dict(VALUES) makes a "
            "recipe of values."
        )
    file = Path(path)
    if (file / "recipe.yaml").is_file():
        raise InputError(
            f"{path}: this is a run, not a recipe; `brulee resume {word(path)}` continues it, and "
            f"{file / 'recipe.yaml'} is its recipe."
        )
    if file.is_dir():
        raise InputError(f"{path}: a folder, where the recipe's file should be.")
    if not file.is_file():
        beside = sorted(p.name for p in file.parent.glob("*.yaml")) if file.parent.is_dir() else []
        close = nearest(file.name, beside)
        hint = (
            f"Did you mean {file.parent / close[0]}?" if close else "brulee init DATA writes one."
        )
        raise InputError(f"{path}: no such recipe file. {hint}")
    if file.suffix in _ROWS:
        raise InputError(
            f"{path}: these are rows, not a recipe; `brulee init {word(path)}` writes one, or a "
            f".yaml file names them: data: {{source: {path}}}."
        )
    values, lines = parse(read_text(file, str(path)), str(path))
    if not isinstance(values, dict):
        found = "the file is empty" if values is None else "it has no keys"
        raise InputError(
            f"{path}: {found}; a recipe is a mapping with the keys data, method, train ..."
        )
    # Rows passed from Python are kept in the run's folder, next to its recipe.
    source = Source(str(path), lines, _folder_of(file), file.resolve().parent / "rows")
    return recipe_from_dict(values, overrides, source)


def _folder_of(file: Path) -> Path:
    """The folder for relative paths: the recipe's own; in a run, that of the original recipe."""
    folder = file.resolve().parent
    try:
        began = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["recipe_folder"]
    except (OSError, ValueError, LookupError, TypeError):
        return folder
    known = file.name == "recipe.yaml" and isinstance(began, str) and Path(began).is_dir()
    return Path(began) if known else folder


def recipe_from_dict(
    values: Mapping[str, Any], overrides: Iterable[str] = (), source: Source | None = None
) -> Recipe:
    """Build a recipe from plain values (paths may be Path objects); errors as in `load_recipe`.

    A `data.source` may be rows: a list or an iterator of mappings, a table of pandas, polars,
    pyarrow or `datasets`, or a mapping from train, validation and test to those. They are read
    once, here; a run keeps them in its folder. Raises InputError naming the first invalid row.
    """
    from_python = source is None
    source = source or Source("recipe", {}, None)
    if isinstance(overrides, str):
        raise InputError(f"overrides must be a list of texts, not one text; write [{overrides!r}].")
    if not isinstance(values, Mapping):
        raise InputError(
            f"{source.label}: it should be a mapping with the keys data, method, train ..., not an "
            f"object of type {type(values).__name__}."
        )
    if from_python and "data" in values:
        values = {**values, "data": given_rows.take_rows(values["data"], source.hold_rows)}
    merged = json.loads(json.dumps(dict(values), default=_plain))
    for override in overrides:
        source.override(apply(merged, override), override.partition("=")[0].strip())
    if isinstance(merged.get("data"), list):
        source.data_is_list()
    if merged.get("name") is None and source.folder is not None:
        merged["name"] = _as_name(Path(source.label).stem)
    recipe = check(Recipe, merged, source, ())
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", recipe.name or "run"):
        raise InputError(
            f"{source.at(('name',))}: name {recipe.name!r} is not a folder name; "
            "use letters, digits, '.', '_' and '-'."
        )
    recipe._source = source
    return recipe


def _as_name(stem: str) -> str:
    """A run's name from that of its recipe's file, which may have any characters."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("._-") or "run"


def with_overrides(recipe: Recipe, overrides: Iterable[str]) -> Recipe:
    """The recipe with `a.b=c` overrides and the same source; errors as in `load_recipe`.

    What it leaves to defaults stays so: some of them depend on the model.
    """
    values = recipe.model_dump(mode="json", exclude_unset=True)
    values["model"] = recipe.base.model_dump(mode="json", exclude_unset=True)
    return recipe_from_dict(values, overrides, recipe.source.again())


def _plain(value: object) -> str:
    if isinstance(value, os.PathLike):  # a Path, or a run
        return str(os.fspath(value))
    if hasattr(value, "save_pretrained"):
        raise InputError(
            f"recipe: a {type(value).__name__} can be passed only to brulee.run and brulee.train; "
            "brulee.keep_model(model, tokenizer) gives a name for it."
        )
    raise InputError(
        f"recipe: {value!r}, of type {type(value).__name__}, is not a text, a number, true, false, "
        "null, a list or a mapping of those."
    )
