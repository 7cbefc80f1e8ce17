"""`brulee data`: inspect a recipe's data before training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import typer

from brulee.cli.data_contamination import contamination
from brulee.cli.data_inspect import inspect
from brulee.cli.data_lint import lint
from brulee.cli.data_list import list_data
from brulee.cli.data_split import split
from brulee.cli.failures import sentences

COMMANDS: Final[dict[str, Callable[..., Any]]] = {
    "inspect": inspect,
    "lint": lint,
    "split": split,
    "contamination": contamination,
    "list": list_data,
}

app = typer.Typer(no_args_is_help=True, help="Inspect a recipe's data before training on it.")
for _name, _command in COMMANDS.items():
    app.command(_name)(sentences()(_command))
