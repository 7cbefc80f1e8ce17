"""`brulee bench`: measure brulee's speed on this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import typer

from brulee.cli.bench_train import train
from brulee.cli.failures import sentences

COMMANDS: Final[dict[str, Callable[..., Any]]] = {"train": train}

app = typer.Typer(no_args_is_help=True, help="Measure brulee's speed on this machine.")
for _name, _command in COMMANDS.items():
    app.command(_name)(sentences()(_command))
