"""`brulee plan`: predict memory, time and disk space before training."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from brulee import progress
from brulee.cli import options
from brulee.cli.loading import loading_pytorch
from brulee.cli.output import print_json, print_table, print_text

if TYPE_CHECKING:
    from brulee.pipeline.plan import Line, Plan


def plan(
    recipe: options.RecipeFile,
    overrides: options.Overrides = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Compare the recipe's method with only this one (repeatable)."
        ),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Predict memory, time and disk space of each method.

    Says which methods fit this machine. Trains for a few steps on models of a few layers; writes
    nothing.
    """
    from brulee.recipe import load_recipe

    spec = load_recipe(recipe, overrides or ())
    progress.enable(not quiet)
    with loading_pytorch():
        from brulee.pipeline.plan import plan as make_plan

    found = make_plan(spec, method or None)
    if as_json:
        print_json(_values(found))
    else:
        _print(found)


def _values(found: Plan) -> dict[str, object]:
    values = asdict(found)
    for line, written in zip(found.lines, values["lines"], strict=True):
        if line.memory:
            written["memory"]["total"] = line.memory.total
    return values


def _print(found: Plan) -> None:
    from brulee.reporting.wording import size

    headers = [
        "method",
        "weights",
        "gradients",
        "optimizer",
        "activations",
        "logits",
        "other",
        "peak",
        "time",
        "run's folder",
        "fits",
    ]
    print_table(headers, [_row(line) for line in found.lines if line.memory])
    for line in (line for line in found.lines if line.refusal):
        print_text(f"{line.label}: {line.refusal}")
    if any(line.cost for line in found.lines):
        print_text(
            "run's folder: the result and the kept checkpoints, mostly optimizer "
            "moments; `brulee methods count` shows the result alone."
        )
    if found.processes > 1:
        print_text(
            f"each of {found.processes} processes needs this: weights are its shard, two layers "
            "gathered and what is outside of layers."
        )
    each = " for each process" if found.processes > 1 else ""
    print_text(
        f"{found.base} on {found.device} in {found.precision}; "
        f"{size(found.room)} are free on this machine now{each}."
    )


def _row(line: Line) -> list[str]:
    from brulee.reporting.wording import duration, size

    assert line.memory is not None
    assert line.cost is not None
    m, c = line.memory, line.cost
    parts = [m.weights, m.gradients, m.optimizer, m.activations, m.logits, m.runtime + m.saving]
    return [
        line.label,
        *map(size, parts),
        size(m.total),
        duration(c.seconds),
        size(c.folder_bytes),
        "yes" if line.fits else "no",
    ]
