"""JSON that a model wrote, or is to write: read to the letter of RFC 8259, or not at all.

Python reads more than JSON (NaN, Infinity, a key given twice) and less exactly (1e400 is infinite,
12345678901234567890.5 rounded). Here the former is no JSON, and numbers are `Decimal`s of every
digit. Texts are as they were written; keys that are one in Unicode's form NFC, in which "e" with a
combining accent is the letter, are one key.

In a fence ("```json ... ```", or of ~~~), as models that chat put it, the JSON may stand beside
other text. A fence is closed by as many of its signs as it has, or more; so it may hold others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from unicodedata import normalize

from brulee.data.raw import no_number, repeated_key

DEEPEST: Final = 100  # levels: few enough for any Python to read, and to be walked through
# Tildes also stand in plain words, so that a fence of them begins a line.
_FENCE: Final = re.compile(r"`{3,}|^[ \t]*~{3,}", re.MULTILINE)
# What says json, or whose next sign begins no other language's name.
_JSON: Final = re.compile(r"[ \t]*(?:(json)(?!\w)|(?=\W))", re.IGNORECASE)
_SPACES: Final = re.compile(r"[ \t\n\r]*")  # those of JSON
_HALF: Final = re.compile("[\ud800-\udfff]")


class NotJsonError(ValueError):
    """A text is not JSON; says why in a few words."""


def read(text: str) -> Any:
    """The value of a text that is JSON from its beginning to its end.

    Raises NotJsonError for anything else, NaN and the infinities, a key that an object gives twice
    or that holds half a character, a number whose exponent no computer holds, and more than
    `DEEPEST` levels.
    """
    found, end = _at(text, _after_spaces(text, 0))
    if _after_spaces(text, end) < len(text):
        raise NotJsonError(f"there is more than JSON (from character {end + 1} on)")
    return found


def read_fenced(text: str) -> Any:
    """As `read`, or of a text that is no JSON what stands in its fence.

    Of several fences it is the first that says json, else the first that names no language. A fence
    that the text's end closes is one, too. Raises NotJsonError as `read`.
    """
    try:
        return read(text)
    except NotJsonError:
        fences = list(_fences(text))
        if not fences:
            raise
    start, signs, _ = next((fence for fence in fences if fence[2]), fences[0])
    found, end = _at(text, _after_spaces(text, start))
    rest = text[end:].lstrip()
    if rest and not rest.startswith(signs):
        raise NotJsonError("there is more than JSON in the fence")
    return found


def _fences(text: str) -> Iterator[tuple[int, str, bool]]:
    """Where fences that may hold JSON begin it, their signs, and whether they say that they do."""
    opened = ""
    for found in _FENCE.finditer(text):
        signs = found[0].lstrip(" \t")
        if opened:
            opened = "" if signs.startswith(opened) else opened
            continue
        opened = signs
        if begun := _JSON.match(text, found.end()):
            yield begun.end(), signs, bool(begun[1])


def _at(text: str, start: int) -> tuple[Any, int]:
    """The value that begins there, and where it ends."""
    try:
        found, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise NotJsonError(f"{error.msg} (character {error.pos + 1})") from None
    except RecursionError:
        raise NotJsonError(f"nested more than {DEEPEST} levels deep") from None
    except ValueError as error:
        raise NotJsonError(str(error)) from None
    if too_deep(found):
        raise NotJsonError(f"nested more than {DEEPEST} levels deep")
    return found, end


def too_deep(value: Any) -> bool:
    """Whether lists and objects lie in one another more than `DEEPEST` levels deep."""
    level, depth = [value], 0
    while level:
        inside = [item for item in level if isinstance(item, dict | list)]
        depth += 1 if inside else 0
        if depth > DEEPEST:
            return True
        level = [x for item in inside for x in (item.values() if isinstance(item, dict) else item)]
    return False


def _after_spaces(text: str, at: int) -> int:
    found = _SPACES.match(text, at)
    return found.end() if found else at


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise NotJsonError("a number has an exponent that is too large") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = repeated_key([(normalize("NFC", key), value) for key, value in pairs])
    if twice is not None:
        raise NotJsonError(f"the key {twice!r} is given twice in one object")
    if any(_HALF.search(key) for key, _ in pairs):
        raise NotJsonError("a key holds half of a surrogate pair, which is no character")
    return dict(pairs)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_number,
    parse_float=_number,
    parse_constant=no_number,
)
