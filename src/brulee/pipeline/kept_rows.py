"""Rows passed from Python, stored in the folder of the run that is trained on them."""

from __future__ import annotations

import shutil
from pathlib import Path

from brulee.recipe import Recipe
from brulee.recipe.given_rows import PREFIX, digest_of

FOLDER = "rows"


def keep_rows(recipe: Recipe, run: Path) -> None:
    """Copy the rows of a recipe into the run's folder atomically, unless they are there.

    Their digests were checked when they were opened.
    """
    sources = [spec.source for _, spec in recipe.tasks if spec.source.startswith(PREFIX)]
    for source in dict.fromkeys(sources):
        held = recipe.source.resolve(source)
        kept = run / FOLDER / held.name
        if kept.exists() and digest_of(kept) == source.rpartition(".")[2]:
            continue
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside = kept.with_name(f".{kept.name}.tmp")
        _remove(aside)
        copy = shutil.copytree if held.is_dir() else shutil.copyfile
        copy(held, aside)
        _remove(kept)
        aside.rename(kept)


def is_begun(rows: Path) -> bool:
    """Whether a folder has only files of `keep_rows`, as of a run that was killed as it began."""
    names = [file.name.removeprefix(".").removesuffix(".tmp") for file in rows.iterdir()]
    return all(_is_ours(name) for name in names)


def _is_ours(name: str) -> bool:
    digest = name.removesuffix(".json").rpartition(".")[2]
    return len(digest) == 16 and all(letter in "0123456789abcdef" for letter in digest)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
