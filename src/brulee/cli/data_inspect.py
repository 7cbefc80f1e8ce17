"""`brulee data inspect`: show what the model will see of a recipe's data."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from brulee import progress
from brulee.cli import options
from brulee.cli.output import print_json
from brulee.errors import InputError


def inspect(
    recipe: options.RecipeFile,
    overrides: options.Overrides = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write everything to one HTML page.")
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(min=0, help="Rendered rows per template [default: 3, and a few here]."),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show what training will see.

    Lengths, cuts, the mix, splits, labels and rendered rows. Needs the model's tokenizer, but not
    its weights. Encodes the first 20,000 training draws.
    """
    from brulee.recipe import load_recipe

    spec = load_recipe(recipe, overrides or ())
    if html is not None and not html.parent.is_dir():
        raise InputError(f"--html {html}: no such folder: {html.parent}.")
    if html is not None and html.is_dir():
        raise InputError(f"--html {html}: a folder; name a file, such as {html / 'data.html'}.")
    progress.enable(not quiet)
    from brulee.data.corpus import open_corpus
    from brulee.data.inspection import inspect as inspect_data
    from brulee.models.tokenizers import load_encoder

    found = inspect_data(
        spec, open_corpus(spec, preview=False), load_encoder(spec), rows=3 if rows is None else rows
    )
    if html is not None:
        from brulee.reporting.data_page import write_data_page

        write_data_page(found, html)
    if as_json:
        print_json(asdict(found))
        return
    from rich.console import Console

    from brulee.reporting.data_terminal import show

    show(found, Console(), rows, html)
