"""`brulee train`: the pipeline up to the adapter."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brulee import progress
from brulee.cli import options
from brulee.cli.loading import loading_pytorch
from brulee.cli.output import print_json, print_trained
from brulee.errors import InputError

if TYPE_CHECKING:
    from brulee.training.range_test import Found


def train(
    recipe: options.RecipeFile,
    overrides: options.Overrides = None,
    folder: options.Folder = None,
    fresh: options.Fresh = False,
    find_lr: Annotated[
        bool,
        typer.Option("--find-lr", help="Only suggest a learning rate; writes no run."),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="With --find-lr: write a plot of the curve to this file."),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Only train the model: no scores, no report."""
    from brulee.recipe import load_recipe

    if plot and not find_lr:
        raise InputError("--plot draws what --find-lr finds; give both.")
    if plot:
        from brulee.reporting import curve

        curve.check_picture(plot)
    # Before torch is imported, so that a mistyped key fails at once.
    spec = load_recipe(recipe, overrides or ())
    progress.enable(not quiet)
    with loading_pytorch():
        from brulee import pipeline

    if find_lr:
        _print_found(pipeline.find_learning_rate(spec), plot, as_json)
    else:
        print_trained(pipeline.train(spec, folder=folder, fresh=fresh), as_json)


def _print_found(found: Found, plot: Path | None, as_json: bool) -> None:
    from brulee.reporting import curve

    if as_json:
        print_json(asdict(found))
    else:
        print(curve.as_text(found.rates, found.losses, found.suggestion))
        print(f"suggested: --set train.learning_rate={found.suggestion:.1e}", flush=True)
    # Last, as writing the picture can still fail.
    if plot:
        curve.as_picture(found.rates, found.losses, found.suggestion, plot)
