"""Kinds of ROUGE, parsed from their names: rouge2, rougeL, rougeW-1.2, rougeS4, rougeSU."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from brulee.errors import unknown

Family = Literal["N", "L", "Lsum", "W", "S", "SU"]

WEIGHT: Final = 1.2  # the default exponent of ROUGE-W, in use since DUC 2004
UNLIMITED: Final = -1
EXAMPLES: Final = (
    *(f"rouge{n}" for n in range(1, 10)), "rougeL", "rougeLsum", "rougeW-1.2", "rougeS", "rougeS4",
    "rougeSU", "rougeSU4",
)  # fmt: skip

_NAME = re.compile(
    r"rouge(?:(?P<n>[1-9]\d*)|(?P<lcs>L|Lsum)|(?P<w>W)(?:-(?P<weight>\d+(?:\.\d+)?))?"
    r"|(?P<skip>SU?)(?P<gap>\d+)?)"
)


@dataclass(frozen=True)
class Kind:
    """A kind of ROUGE: n-gram length `n`, largest skip `gap` in words, W's exponent `weight`."""

    family: Family
    n: int = 0
    gap: int = UNLIMITED
    weight: float = WEIGHT


@lru_cache(maxsize=256)
def kind(name: str) -> Kind:
    """The kind for a name. Raises InputError with the nearest names for an unknown one."""
    found = _NAME.fullmatch(name)
    if found is None or float(found["weight"] or WEIGHT) <= 0:
        raise unknown("ROUGE type", name, EXAMPLES)
    if found["n"]:
        return Kind("N", n=int(found["n"]))
    if found["lcs"]:
        return Kind("L" if found["lcs"] == "L" else "Lsum")
    if found["w"]:
        return Kind("W", weight=float(found["weight"] or WEIGHT))
    gap = UNLIMITED if found["gap"] is None else int(found["gap"])
    return Kind("S" if found["skip"] == "S" else "SU", gap=gap)


def is_kind(name: str) -> bool:
    """Whether the name is a ROUGE type."""
    return _NAME.fullmatch(name) is not None
