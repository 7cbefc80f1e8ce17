"""A model's configuration, read without its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from brulee.errors import InputError
from brulee.models.bundled import NAME, bundled_folder, cache_folder
from brulee.models.named import check_name, looks_like_path, no_such_model
from brulee.models.reading_files import read_config, reason
from brulee.models.rope_scaling import scaled
from brulee.models.whole_files import check_gguf
from brulee.recipe import Recipe

_HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")


def model_config(
    name: str, revision: str | None = None, rope_scaling: Mapping[str, Any] | None = None
) -> PretrainedConfig:
    """The configuration of `bundled`, a folder, a .gguf file or a Hub id.

    `rope_scaling` is as in `load_base`. Raises InputError, with the name, if there is no such
    model, and for one that cannot be scaled.
    """
    config = _as_stored(name, revision)
    if rope_scaling is not None:
        scaled(config, rope_scaling, Path(name).name)
    return config


def _as_stored(name: str, revision: str | None) -> PretrainedConfig:
    if name == "bundled":
        return _read(_bundled(), name)
    path = Path(name).expanduser()
    if path.is_file():
        check_gguf(path)
        return _read(path.parent, name, gguf_file=path.name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(f"{path}: not a model folder: it has no config.json.")
        return _read(path, name)
    if looks_like_path(name) or not _HUB_ID.fullmatch(name):
        raise InputError(no_such_model(path, name))
    return _read(name, name, revision=revision)


def _bundled() -> Path:
    """The converted model's folder, without checking its weights, which are not read."""
    folder = cache_folder() / "models" / NAME
    return folder if (folder / "config.json").is_file() else bundled_folder()


def _read(where: Path | str, name: str, **more: Any) -> PretrainedConfig:
    try:
        config = read_config(where, **more)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"model {name!r}: its configuration cannot be read: {reason(error)}"
        ) from None
    return config


def model_name(recipe: Recipe) -> str:
    """The base's name for readers of configurations, with paths resolved by the recipe.

    Raises InputError for a path where nothing is.
    """
    name = recipe.base.name
    path = recipe.source.resolve(name)
    check_name(name, path)
    return str(path) if name != "bundled" and path.exists() else name
