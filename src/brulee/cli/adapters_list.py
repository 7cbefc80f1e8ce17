"""`brulee adapters list`: list every adapter and tuned model under a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brulee.cli import options
from brulee.cli.output import print_json, print_table
from brulee.errors import InputError

if TYPE_CHECKING:
    from brulee.methods.shelf import Entry
    from brulee.reporting.results import Comparison


def list_adapters(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where to look.", show_default=True)
    ] = Path("runs"),
    as_json: options.Json = False,
) -> None:
    """List the runs and adapters under a folder.

    With their method, base and bytes, and what the run gained.
    """
    from brulee.methods.shelf import entries

    found = [_described(folder, entry) for entry in entries(folder)]
    if as_json:
        print_json(found)
        return
    if not found:
        print(f"{folder}: nothing tuned is stored here.")
        return
    _print(found)


def _described(folder: Path, entry: Entry) -> dict[str, Any]:
    run = entry.stored.run()
    shown = run or entry.stored.folder
    # If FOLDER is itself an adapter, its run lies above it.
    inside = shown != folder and shown.is_relative_to(folder)
    problem = entry.problem
    try:
        gain = None if run is None else _gain(run)
    except InputError as error:
        gain, problem = None, problem or str(error)
    return {
        "name": str(shown.relative_to(folder)) if inside else shown.resolve().name,
        "kind": entry.stored.kind,
        "folder": str(entry.stored.folder),
        "method": entry.label,
        "base": entry.base,
        "bytes": entry.size,
        "metric": gain.metric if gain else None,
        "base_score": gain.base if gain else None,
        "score": gain.tuned if gain else None,
        "problem": problem,
    }


def _gain(run: Path) -> Comparison | None:
    """The run's first comparison; None until the run is finished."""
    from brulee.reporting import results

    if not (run / results.FILE_NAME).is_file():
        return None
    return next(iter(results.read(run).comparisons), None)


def _print(found: list[dict[str, Any]]) -> None:
    from brulee.reporting.wording import metric_name, size

    rows = []
    for each in found:
        score = ""
        if each["metric"] is not None:
            values = f"{each['base_score']:.3f} -> {each['score']:.3f}"
            score = f"{metric_name(each['metric'])} {values}"
        rows.append((each["name"], each["method"], each["base"], size(each["bytes"]), score))
    print_table(["name", "method", "base", "size", "score"], rows)
    for each in found:
        if each["problem"] is not None:
            print(f"{each['name']}: {each['problem']}")
