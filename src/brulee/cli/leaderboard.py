"""`brulee leaderboard`: models by suites, from finished files."""

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
            "NAME is what the table calls it, or what a run tuned.",
        ),
    ],
    tasks: Annotated[
        bool, typer.Option("--tasks", help="Every score of every task, not each suite's main one.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page that sorts here.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the scores as CSV here.")] = None,
    as_json: options.Json = False,
) -> None:
    """Put models side by side on every suite that was measured, with intervals.

    A run shows its base and what was tuned, with everything that `brulee eval` measured of it.

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
