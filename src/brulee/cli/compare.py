"""`brulee compare`: show several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brulee.cli import options
from brulee.cli.loading import loading_pytorch
from brulee.cli.output import console, print_json
from brulee.errors import InputError

if TYPE_CHECKING:
    from brulee.reporting.results import Comparison, Results


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders, two or more.")],
    as_json: options.Json = False,
) -> None:
    """Show two or more runs side by side.

    The scores of each further run are compared with the first run's, paired by test item.
    """
    from brulee.reporting import results

    if len(runs) < 2:
        raise InputError(f"compare needs two runs or more; only {runs[0]} was given.")
    files = [results.file_of(run).resolve() for run in runs]
    for number, (run, file) in enumerate(zip(runs, files, strict=True)):
        if (first := files.index(file)) < number:
            also = "" if run == runs[first] else f", as {runs[first]}"
            raise InputError(f"compare needs runs that differ; {run} was given twice{also}.")
    found = [results.read(run) for run in runs]
    pairs = _against_first([file.parent for file in files], found)
    if as_json:
        print_json(_plain(found, pairs))
    else:
        from brulee.reporting import terminal

        terminal.compare(_told_apart(runs, found), console(), pairs)


def _against_first(folders: list[Path], found: list[Results]) -> Sequence[Sequence[Comparison]]:
    """Each further run minus the first; PyTorch is loaded only if there is something to compare."""
    if not found[0].comparisons or not any(one.comparisons for one in found[1:]):
        return [()] * (len(found) - 1)
    with loading_pytorch():
        from brulee.pipeline.between_runs import against_first
    return against_first(folders, found)


def _plain(
    found: Sequence[Results], pairs: Sequence[Sequence[Comparison]]
) -> list[dict[str, object]]:
    """Every run's results; a further run's with `against_first`, its scores minus the first's."""
    plain = [one.model_dump(mode="json", by_alias=True) for one in found]
    for one, compared in zip(plain[1:], pairs, strict=True):
        one["against_first"] = [pair.model_dump(mode="json") for pair in compared]
    return plain


def _told_apart(runs: list[Path], found: list[Results]) -> list[Results]:
    """Rename runs that share a name to their paths, and append a suite's non-default options."""
    names = [one.run for one in found]
    called = [
        str(path) if names.count(one.run) > 1 else one.run
        for path, one in zip(runs, found, strict=True)
    ]
    asked = [f" [{one.suite.asked}]" if one.suite and one.suite.asked else "" for one in found]
    return [
        one.model_copy(update={"run": name + how})
        for name, how, one in zip(called, asked, found, strict=True)
    ]
