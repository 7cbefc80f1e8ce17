"""`brulee eval`: run a benchmark on a run, an adapter or a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brulee import progress
from brulee.cli import options
from brulee.cli.loading import loading_pytorch
from brulee.cli.output import print_json, print_table
from brulee.cli.places import check_folder


def evaluate(
    target: options.Target,
    suite: Annotated[
        str,
        typer.Option(
            help="A name of `brulee suites list`, such as bundled (three guards that need no "
            "files), mmlu or glue; or FILE.yaml of lm-evaluation-harness."
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the suite's official files [default: the Hub's copy]."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Only N items of each task: the first, or as the suite draws them."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="An option of the suite: prompt=harness. Lists are a,b,c.",
        ),
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Wrap every prompt in the model's chat template.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for results.json and the items [default: RUN/suites/SUITE; for a model "
            "nothing is written]."
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Folder for the files to submit to GLUE's or SuperGLUE's leaderboard."),
    ] = None,
    base: options.AdapterBase = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Score a model, an adapter or a run on a benchmark.

    Every number has an interval. An interrupted evaluation continues where it stopped; a finished
    one does not ask the model again.

    For example: brulee eval bundled --suite mmlu --data mmlu --limit 20
    """
    progress.enable(not quiet)
    with loading_pytorch():
        from brulee.evaluation.suite_options import parse_settings
        from brulee.evaluation.suites import suite as suite_of
        from brulee.pipeline import evaluation_files as files
        from brulee.pipeline.evaluation import evaluate as evaluate_target

    if out:
        check_folder(out, "--out")
        files.check_out(out, suite_of(suite), parse_settings(settings or []), chat)
    if bundle:
        check_folder(bundle, "--bundle")
        files.check_bundle(suite_of(suite), limit)
    found = evaluate_target(
        target,
        suite,
        data,
        limit=limit,
        options=parse_settings(settings or []),
        chat=chat,
        base=base,
        device=device,
        precision=precision,
        bundle=bundle is not None,
    )
    written = files.write_bundle(found, bundle) if bundle else []
    folder = out or files.default_folder(found)
    if folder:
        written.append(files.write(found, folder))
    if as_json:
        print_json(files.summary(found))
        return
    print_table(found.table.heads, found.table.rows)
    for file in written:
        print(file)
