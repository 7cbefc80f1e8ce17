"""`brulee adapters`: inspect, merge, combine, export and compare adapters and tuned models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import typer

from brulee.cli.adapters_combine import combine
from brulee.cli.adapters_diff import diff
from brulee.cli.adapters_export import export
from brulee.cli.adapters_inspect import inspect
from brulee.cli.adapters_list import list_adapters
from brulee.cli.adapters_merge import merge
from brulee.cli.adapters_neighbors import neighbors
from brulee.cli.adapters_push import push
from brulee.cli.failures import sentences

COMMANDS: Final[dict[str, Callable[..., Any]]] = {
    "list": list_adapters,
    "inspect": inspect,
    "merge": merge,
    "combine": combine,
    "export": export,
    "diff": diff,
    "neighbors": neighbors,
    "push": push,
}

app = typer.Typer(
    no_args_is_help=True, help="Inspect, merge, combine, compare and export adapters."
)
for _name, _command in COMMANDS.items():
    app.command(_name)(sentences()(_command))
