"""A linter's findings as text, one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brulee.printable import printable

if TYPE_CHECKING:
    from brulee.data.finding import Finding


def print_findings(found: list[Finding]) -> None:
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
