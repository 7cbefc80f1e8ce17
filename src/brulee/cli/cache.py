"""`brulee cache`: list and clear what is stored outside run folders."""

from __future__ import annotations

from typing import Annotated

import typer

from brulee.cli import options
from brulee.cli.output import print_json, print_table


def list_parts(as_json: options.Json = False) -> None:
    """List the parts of the cache, and what clearing one costs."""
    from brulee.models.bundled import cache_folder
    from brulee.models.cached import KINDS, entries_of
    from brulee.reporting.wording import size

    found = {kind: entries_of(kind) for kind in KINDS}
    sizes = {kind: sum(one.size for one in entries) for kind, entries in found.items()}
    if as_json:
        parts = [
            {"part": kind, "bytes": sizes[kind], "entries": [str(one.path) for one in entries]}
            for kind, entries in found.items()
        ]
        print_json({"folder": str(cache_folder()), "parts": parts})
        return
    rows = [
        (kind, KINDS[kind].what, str(len(entries)), size(sizes[kind]), KINDS[kind].cost)
        for kind, entries in found.items()
    ]
    print_table(["part", "what it is", "entries", "size", "if it is cleared"], rows)
    print(cache_folder())


def clear(
    part: Annotated[
        str, typer.Argument(metavar="PART", help="bundled, given, evaluations or kernels.")
    ],
    older_than: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="DAYS",
            help="Only delete what was last written more than this many days ago.",
        ),
    ] = 0.0,
    as_json: options.Json = False,
) -> None:
    """Delete a part of the cache; run folders are not touched.

    A run on a model passed from Python uses the model's folder under `given` as its base.
    """
    from brulee.models import cached
    from brulee.reporting.wording import size

    gone = cached.clear(part, older_than)
    freed = sum(one.size for one in gone)
    if as_json:
        print_json({"part": part, "bytes": freed, "deleted": [str(one.path) for one in gone]})
        return
    for one in gone:
        print(one.path)
    print(f"{len(gone)} deleted, {size(freed)}")
