"""A linter's finding about a template or a family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One finding: an error is certainly wrong, a warning is worth a look.

    `template` is empty if the finding is about the whole family; `where` is a line of the template
    file or a row.
    """

    code: str
    severity: Severity
    message: str
    where: str = ""
    family: str = ""
    template: str = ""
