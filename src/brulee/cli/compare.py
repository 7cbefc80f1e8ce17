"""`brulee compare`: several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brulee.cli import options
from brulee.cli.output import print_json
from brulee.errors import InputError


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="Run folders.")],
    as_json: options.Json = False,
) -> None:
    """Show two or more runs side by side."""
    from brulee.reporting import results

    if len(runs) < 2:
        raise InputError(f"compare needs two runs or more; only {runs[0]} was given.")
    found = [results.read(run) for run in runs]
    if as_json:
        print_json([one.model_dump(mode="json", by_alias=True) for one in found])
    else:
        from rich.console import Console

        from brulee.reporting import terminal

        terminal.compare(found, Console())
