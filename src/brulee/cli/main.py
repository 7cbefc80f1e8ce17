"""The `brulee` command: every subcommand in one table."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from brulee import __version__
from brulee.cli import adapters, bench, cache, data, methods, metrics, models, suites, templates
from brulee.cli.chat import chat
from brulee.cli.command import Command
from brulee.cli.compare import compare
from brulee.cli.eval import evaluate
from brulee.cli.failures import sentences
from brulee.cli.generate import generate
from brulee.cli.helm import helm
from brulee.cli.init import init
from brulee.cli.leaderboard import leaderboard
from brulee.cli.noise import hush
from brulee.cli.plan import plan
from brulee.cli.report import report
from brulee.cli.resume import resume
from brulee.cli.run import run
from brulee.cli.schema import schema
from brulee.cli.score import score
from brulee.cli.serve import serve
from brulee.cli.streams import open_streams
from brulee.cli.sweep import sweep
from brulee.cli.train import train

COMMANDS: Final[dict[str, Callable[..., Any]]] = {
    "init": init,
    "run": run,
    "train": train,
    "resume": resume,
    "sweep": sweep,
    "plan": plan,
    "report": report,
    "compare": compare,
    "eval": evaluate,
    "helm": helm,
    "leaderboard": leaderboard,
    "generate": generate,
    "chat": chat,
    "serve": serve,
    "score": score,
    "schema": schema,
}
GROUPS: Final[dict[str, typer.Typer]] = {
    "data": data.app,
    "methods": methods.app,
    "adapters": adapters.app,
    "templates": templates.app,
    "models": models.app,
    "metrics": metrics.app,
    "suites": suites.app,
    "cache": cache.app,
    "bench": bench.app,
}


def build_app() -> typer.Typer:
    """The typer application, built from the two tables."""
    app = typer.Typer(
        name="brulee",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # plain help: rich would double the time to show it
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_top)
    for name, command in COMMANDS.items():
        app.command(name, cls=Command)(sentences()(command))
    for name, group in GROUPS.items():
        for registered in group.registered_commands:
            registered.cls = Command
        app.add_typer(group, name=name)
    return app


def main() -> None:
    """Run the command line; exits with 0 for success, 1 for a failure, 2 for bad usage or input."""
    open_streams()
    hush()
    _share_cores()
    build_app()()


def _share_cores() -> None:
    """Make waiting OpenMP threads sleep sooner; must run before PyTorch loads OpenMP.

    On a shared machine, a spinning thread takes the core from the thread that it waits for
    (docs/performance.md). Settings in the environment take precedence.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"brulee {__version__}")
        raise typer.Exit


def _top(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Instruction fine-tuning that tells you what you gained, what it cost, what was forgotten.

    Begin with: brulee run recipes/support-chat.yaml
    """
