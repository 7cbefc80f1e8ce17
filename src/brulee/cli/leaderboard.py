"""`brulee leaderboard`: compare models by suites, from result files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brulee.cli import options
from brulee.cli.output import console, print_json
from brulee.cli.places import check_file


def leaderboard(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]PATH",
            help="Run folders, results of brulee eval, result files of lm-evaluation-harness; "
            "NAME is the name in the table (of a run: of its tuned model).",
        ),
    ],
    tasks: Annotated[
        bool,
        typer.Option(
            "--tasks", help="Show every score of every task, not only each suite's main one."
        ),
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a sortable HTML page to this file.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the scores as CSV to this file.")] = None,
    as_json: options.Json = False,
) -> None:
    """Compare models on every suite that was measured.

    Scores have intervals. A run shows its base and its tuned model, with everything that `brulee
    eval` measured on them.

    For example: brulee leaderboard runs/chat SmolLM2=runs/base-mmlu --html page.html
    """
    from brulee.reporting import leaderboard_page, leaderboard_text
    from brulee.reporting.leaderboard import leaderboard as ranked
    from brulee.reporting.leaderboard_files import read_all

    for option, file in (("--html", html), ("--csv", csv)):
        if file is not None:
            check_file(file, option)
    found = ranked(read_all(files), tasks)
    written = [leaderboard_page.write_page(found, html)] if html else []
    if csv is not None:
        csv.parent.mkdir(parents=True, exist_ok=True)
        csv.write_text(leaderboard_text.as_csv(found), encoding="utf-8")
        written.append(csv)
    if as_json:
        print_json(leaderboard_text.as_json(found))
        return
    out = console()
    out.print(*leaderboard_text.terminal(found, out.width), sep="\n")
    for path in written:
        print(path)
