"""A stretch of a text that says something checkable: a name, a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["name", "number"]


@dataclass(frozen=True)
class Span:
    """text[start:end], what it is, and whether the source says it too."""

    start: int
    end: int
    kind: Kind
    supported: bool
