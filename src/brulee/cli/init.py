"""`brulee init`: a recipe to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brulee import progress
from brulee.cli import options
from brulee.cli.output import print_json
from brulee.cli.places import check_file
from brulee.errors import InputError
from brulee.printable import printable


def init(
    source: Annotated[
        str,
        typer.Argument(metavar="DATA", help="A file of rows, a folder, or another source."),
    ],
    model: Annotated[
        str, typer.Option(help="bundled, a Hub id, a folder, or a .gguf file.")
    ] = "bundled",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it here [default: DATA's name.yaml].")
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write a recipe for a file of rows, with a comment beside every line, that runs as it is.

    What is asked comes from the rows' format, a library family that fits, or the columns' names.
    """
    from brulee.data.starting import default_file, start

    file = out or default_file(source)
    check_file(file, "--out")
    if file.exists():
        raise InputError(f"{file}: exists already, and is left as it is; name another with --out.")
    progress.enable(not quiet)
    found = start(source, model, file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(found.text, encoding="utf-8")
    if as_json:
        values = {"recipe": str(file), "described": found.described, "guessed": found.guessed}
        print_json(values | {"rows": found.rows, "test_rows": found.test})
        return
    if found.guessed:  # a format is told when its rows are opened
        print(printable(found.described))
        print(f"The prompt is a guess: look over data.templates in {file}.")
    print(f"Wrote {file}. Next: brulee data inspect {file}, then brulee run {file}")
