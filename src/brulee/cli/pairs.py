"""Adapters that a command line names: --adapter NAME=TARGET."""

from __future__ import annotations

from collections.abc import Sequence

from brulee.errors import InputError


def named(adapters: Sequence[str]) -> dict[str, str]:
    """Targets of adapters by name. Raises InputError for a pair that is none, or a name twice."""
    found: dict[str, str] = {}
    for pair in adapters:
        name, equals, target = pair.partition("=")
        if not (name and equals and target):
            raise InputError(f"--adapter {pair!r}: write NAME=TARGET, such as notes=runs/notes.")
        if name in found:
            raise InputError(f"--adapter {pair!r}: {name!r} is {found[name]!r} already.")
        found[name] = target
    return found
