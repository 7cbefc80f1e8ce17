"""What a linter has to say about one template or one family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One mistake: an error is wrong in any reading, a warning is worth a look.

    `template` is empty where the whole family is meant; `where` is a line of the template file or
    a row.
    """

    code: str
    severity: Severity
    message: str
    where: str = ""
    family: str = ""
    template: str = ""
