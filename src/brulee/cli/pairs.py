"""Parse the adapters of a command line: --adapter NAME=TARGET."""

from __future__ import annotations

from collections.abc import Sequence

from brulee.errors import InputError


def named(adapters: Sequence[str] | None, base: str | None = None) -> dict[str, str]:
    """Map each adapter's name to its target.

    Raises InputError for a malformed pair, a repeated name, or adapters together with `base`
    (--base).
    """
    found: dict[str, str] = {}
    for pair in adapters or ():
        name, equals, target = pair.partition("=")
        if not (name and equals and target):
            raise InputError(f"--adapter {pair!r}: write NAME=TARGET, such as notes=runs/notes.")
        if name in found:
            raise InputError(f"--adapter {pair!r}: {name!r} is {found[name]!r} already.")
        found[name] = target
    if found and base is not None:
        raise InputError("with --adapter, TARGET is the base; leave --base out.")
    return found
