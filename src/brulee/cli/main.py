"""The `brulee` command: every subcommand in one table."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from brulee import __version__
from brulee.cli.adapters_combine import combine
from brulee.cli.adapters_diff import diff
from brulee.cli.adapters_export import export
from brulee.cli.adapters_inspect import inspect as inspect_adapter
from brulee.cli.adapters_list import list_adapters
from brulee.cli.adapters_merge import merge
from brulee.cli.adapters_neighbors import neighbors
from brulee.cli.adapters_push import push
from brulee.cli.bench_train import train as time_training
from brulee.cli.cache import clear, list_parts
from brulee.cli.chat import chat
from brulee.cli.command import Command
from brulee.cli.compare import compare
from brulee.cli.data_contamination import contamination
from brulee.cli.data_inspect import inspect as inspect_data
from brulee.cli.data_lint import lint as lint_data
from brulee.cli.data_list import list_data
from brulee.cli.data_split import split
from brulee.cli.eval import evaluate
from brulee.cli.failures import sentences
from brulee.cli.generate import generate
from brulee.cli.helm import helm
from brulee.cli.init import init
from brulee.cli.leaderboard import leaderboard
from brulee.cli.methods import list_methods
from brulee.cli.methods_count import count
from brulee.cli.metrics import list_metrics
from brulee.cli.models import list_models, path
from brulee.cli.noise import hush
from brulee.cli.plan import plan
from brulee.cli.report import report
from brulee.cli.resume import resume
from brulee.cli.run import run
from brulee.cli.schema import schema
from brulee.cli.score import score
from brulee.cli.serve import serve
from brulee.cli.streams import open_streams
from brulee.cli.suites import list_suites
from brulee.cli.sweep import sweep
from brulee.cli.templates import lint as lint_templates
from brulee.cli.templates import list_templates, render, show
from brulee.cli.train import train

Commands = dict[str, Callable[..., Any]]

COMMANDS: Final[Commands] = {
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
# Commands of two words, by the first; its help is in HELP.
GROUPS: Final[dict[str, Commands]] = {
    "data": {
        "inspect": inspect_data,
        "lint": lint_data,
        "split": split,
        "contamination": contamination,
        "list": list_data,
    },
    "methods": {"list": list_methods, "count": count},
    "adapters": {
        "list": list_adapters,
        "inspect": inspect_adapter,
        "merge": merge,
        "combine": combine,
        "export": export,
        "diff": diff,
        "neighbors": neighbors,
        "push": push,
    },
    "templates": {"list": list_templates, "show": show, "render": render, "lint": lint_templates},
    "models": {"list": list_models, "path": path},
    "metrics": {"list": list_metrics},
    "suites": {"list": list_suites},
    "cache": {"list": list_parts, "clear": clear},
    "bench": {"train": time_training},
}
HELP: Final = {
    "data": "Inspect a recipe's data before training on it.",
    "methods": "List the tuning methods; count what they train.",
    "adapters": "Inspect, merge, combine, compare and export adapters.",
    "templates": "List, show, render and lint templates.",
    "models": "List the models that need no download; locate one.",
    "metrics": "List the metrics for recipes and brulee score.",
    "suites": "List the benchmarks for brulee eval and guards.",
    "cache": "List or clear what brulee keeps in $BRULEE_CACHE.",
    "bench": "Measure brulee's speed on this machine.",
}


def build_app() -> typer.Typer:
    """The typer application, built from the tables."""
    app = typer.Typer(
        name="brulee",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # plain help: rich would double the time to show it
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_top)
    _add(app, COMMANDS)
    for name, commands in GROUPS.items():
        group = typer.Typer(no_args_is_help=True, help=HELP[name])
        group.callback()(lambda: None)  # else typer would drop the second word of a lone command
        _add(group, commands)
        app.add_typer(group, name=name)
    return app


def _add(app: typer.Typer, commands: Commands) -> None:
    for name, command in commands.items():
        app.command(name, cls=Command)(sentences()(command))


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
