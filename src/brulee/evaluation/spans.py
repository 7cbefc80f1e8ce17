"""A span of a text that can be checked against a source: a name or a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["name", "number"]


@dataclass(frozen=True)
class Span:
    """text[start:end], its kind, and whether the source contains it."""

    start: int
    end: int
    kind: Kind
    supported: bool
