"""A linter's findings, as text with one line each or as JSON, and its exit code."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import typer

from brulee.cli.failures import BAD_INPUT
from brulee.cli.output import print_json
from brulee.printable import printable

if TYPE_CHECKING:
    from brulee.data.finding import Finding

# Warnings of one kind that are printed; a mixture of thousands of tasks may have one for each.
_OF_A_KIND: Final = 20


def end_lint(found: list[Finding], as_json: bool) -> None:
    """Print the findings; exits with 2 if one is an error."""
    if as_json:
        print_json([asdict(finding) for finding in found])
    else:
        _print(found)
    if any(finding.severity == "error" for finding in found):
        raise typer.Exit(BAD_INPUT)


def _print(found: list[Finding]) -> None:
    """Print each finding's place, severity, kind and reason, then the count of each severity.

    Every error is printed, and of the warnings of a kind the first ones.
    """
    kinds: Counter[str] = Counter()
    for finding in found:
        if finding.severity == "warning":
            kinds[finding.code] += 1
            if kinds[finding.code] > _OF_A_KIND:
                continue
        place = f"{finding.where}: " if finding.where else ""
        name = "/".join(filter(None, (finding.family, finding.template)))
        about = f"{name}: " if name else ""
        print(printable(f"{place}{finding.severity}: {about}{finding.message} [{finding.code}]"))
    for code, number in kinds.items():
        if number > _OF_A_KIND:
            print(f"and {number - _OF_A_KIND:,} more warnings of [{code}], which --json lists")
    errors = sum(finding.severity == "error" for finding in found)
    print(f"{_counted(errors, 'error')}, {_counted(len(found) - errors, 'warning')}")


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
