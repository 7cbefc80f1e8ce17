"""A linter's findings, as text with one line each or as JSON, and its exit code."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from brulee.cli.failures import BAD_INPUT
from brulee.cli.output import print_json
from brulee.printable import printable

if TYPE_CHECKING:
    from brulee.data.finding import Finding


def end_lint(found: list[Finding], as_json: bool) -> None:
    """Print the findings; exits with 2 if one is an error."""
    if as_json:
        print_json([asdict(finding) for finding in found])
    else:
        _print(found)
    if any(finding.severity == "error" for finding in found):
        raise typer.Exit(BAD_INPUT)


def _print(found: list[Finding]) -> None:
    """Print each finding's place, severity, kind and reason, then the count of each severity."""
    for finding in found:
        place = f"{finding.where}: " if finding.where else ""
        name = "/".join(filter(None, (finding.family, finding.template)))
        about = f"{name}: " if name else ""
        print(printable(f"{place}{finding.severity}: {about}{finding.message} [{finding.code}]"))
    errors = sum(finding.severity == "error" for finding in found)
    print(f"{_counted(errors, 'error')}, {_counted(len(found) - errors, 'warning')}")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
