"""`brulee helm`: the HELM results of one or more models as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brulee.cli import options
from brulee.cli.output import console, print_json


def helm(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER", help="Folders written by brulee eval --suite helm --out."),
    ],
    html: Annotated[Path | None, typer.Option(help="Write the tables to this HTML page.")] = None,
    as_json: options.Json = False,
) -> None:
    """Show HELM results: scenarios, mean win rates, speed.

    For example: brulee helm runs/base-helm runs/chat/suites/helm --html helm.html
    """
    from brulee.reporting import helm_views, results
    from brulee.reporting.helm_table import helm_table

    found = helm_table([(str(folder), results.read(folder)) for folder in folders])
    if html is not None:
        helm_views.write_page(found, html)
    if as_json:
        print_json(found.as_json())
        return
    out = console()
    out.print(*helm_views.terminal(found, out.width), sep="\n")
    if html is not None:
        print(html)
