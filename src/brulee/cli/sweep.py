"""`brulee sweep`: try settings of a recipe and choose one by the validation rows."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brulee import progress
from brulee.cli import options
from brulee.cli.loading import loading_pytorch
from brulee.cli.output import console, print_json, print_text
from brulee.errors import InputError
from brulee.shell import no_option

if TYPE_CHECKING:
    from brulee.pipeline.sweeps.forecast import Forecast

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600}


def sweep(
    recipe: options.RecipeFile,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUES",
            help="An axis: KEY=A,B,C or KEY=LOW..HIGH or KEY=LOW..HIGH:log; one value changes the "
            "recipe.",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=(
                "Settings to try in addition to the recipe's own [default: all of lists, 12 of "
                "ranges]."
            ),
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Train every setting with this many seeds.")
    ] = 1,
    objective: Annotated[
        str,
        typer.Option(
            help="What to optimise: validation_loss, or one of the recipe's metrics: rougeL ..."
        ),
    ] = "validation_loss",
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Stop trials that do worse than the median at the same step."),
    ] = False,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Database that shares the trials [default: a file in the folder]."
        ),
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="Start no trial after this time: 90m, 2h.")
    ] = None,
    keep_all: Annotated[
        bool, typer.Option("--keep-all", help="Keep the weights of every trial.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the axes, print the expected cost, and stop.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option(help="Folder of the sweep [default: runs/NAME-sweep].")
    ] = None,
    fresh: options.Fresh = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare settings on validation rows, test the best one.

    Only the chosen setting and the recipe's own are scored on the test rows. Run the command
    again to continue, or twice at the same time to share the trials.

    For example: brulee sweep RECIPE --set method.rank=4,8,16 --set
    train.learning_rate=1e-4..3e-3:log --trials 12 --seeds 3
    """
    from brulee.recipe import load_recipe
    from brulee.recipe.axes import split_axes

    # Before torch is imported, so that a mistyped key fails at once.
    axes, fixed = split_axes(settings or ())
    spec = load_recipe(recipe, fixed)
    seconds = None if timeout is None else _seconds(timeout)
    progress.enable(not quiet)
    with loading_pytorch():
        from brulee.pipeline import sweeps
        from brulee.pipeline.sweeps.forecast import forecast
        from brulee.pipeline.sweeps.outline import Options

    chosen = Options(trials, seeds, objective, prune, storage, seconds, keep_all)
    outlined = sweeps.outline(spec, axes, chosen, folder, fresh)
    if dry_run:
        _print_forecast(forecast(outlined), as_json)
        return
    command = [no_option(recipe), *(word for text in fixed for word in ("--set", text))]
    where = sweeps.sweep(outlined, fresh, command)
    _print(where, as_json)


def _print_forecast(found: Forecast, as_json: bool) -> None:
    if as_json:
        print_json(asdict(found))
    else:
        for line in found.told():
            print_text(line)


def _print(where: Path, as_json: bool) -> None:
    from brulee.reporting import sweep_results

    found = sweep_results.read(where)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    from brulee.reporting import sweep_page, sweep_text

    sweep_text.show(found, console(), where / sweep_page.FILE_NAME)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|m|h)", text.strip())
    if found is None or float(found[1]) <= 0:
        raise InputError(f"--timeout {text}: write a number with s, m or h: 90m, 1.5h.")
    return float(found[1]) * _UNITS[found[2]]
