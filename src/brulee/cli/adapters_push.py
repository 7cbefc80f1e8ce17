"""`brulee adapters push`: upload to the Hub; no other command sends anything."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from brulee.cli import options
from brulee.cli.output import print_json


def push(
    target: options.Tuned,
    to: Annotated[str, typer.Option(metavar="OWNER/NAME", help="The repository on the Hub.")],
    upload: Annotated[
        bool, typer.Option("--upload", help="Upload; without this nothing is sent.")
    ] = False,
    public: Annotated[
        bool, typer.Option("--public", help="If the repository is created, make it public.")
    ] = False,
    base_id: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME", help="The base's name on the Hub, if it is a local folder."
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Upload an adapter or a tuned model to the Hub.

    With its model card. Without --upload, only checks it and prints what would be sent.
    """
    from brulee.methods.pushing import plan_push
    from brulee.methods.pushing import push as send
    from brulee.methods.shelf import locate

    stored = locate(target)
    if upload:
        made = send(stored, to, private=not public, base_id=base_id)
    else:
        made = plan_push(stored, to, base_id)
    if as_json:
        print_json({**asdict(made), "uploaded": upload})
        return
    files = ", ".join(made.files)
    if upload:
        print(f"{made.where}: {files}")
    else:
        print(
            f"{stored.folder}: {files} would be sent to {made.where}; nothing was. Add --upload to "
            "send them."
        )
