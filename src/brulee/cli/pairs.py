"""Parse pairs on a command line: --adapter NAME=TARGET, --languages SOURCE,TARGET."""

from __future__ import annotations

from collections.abc import Sequence

from brulee.errors import InputError


def languages_of(text: str | None) -> dict[str, str] | None:
    """The languages of --languages. Raises InputError unless there are two."""
    if text is None:
        return None
    source, _, target = text.partition(",")
    if not (source and target) or "," in target:
        raise InputError(f"--languages {text!r}: write SOURCE,TARGET, such as deu_Latn,eng_Latn.")
    return {"source": source, "target": target}


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
