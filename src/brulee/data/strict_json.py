"""Parses generated and expected JSON strictly by RFC 8259.

Python's parser accepts more than JSON (NaN, Infinity, duplicate keys) and loses precision (1e400 is
infinite, 12345678901234567890.5 is rounded). Here the former is an error, and numbers are exact
`Decimal`s. Strings are not normalised, but keys that are equal in Unicode's form NFC, in which "e"
with a combining accent equals the single letter, are duplicates.

In a fence ("```json ... ```", or of ~~~), which chat models often use, the JSON may be surrounded
by other text. A fence is closed by at least as many characters as opened it, so it may contain
shorter ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from unicodedata import normalize

from brulee.data.json_text import distinct, no_number

DEEPEST: Final = 100  # levels, few enough for every Python version to parse and traverse
# Tildes also occur in plain text, so a fence of them must start a line.
_FENCE: Final = re.compile(r"`{3,}|^[ \t]*~{3,}", re.MULTILINE)
# A fence labelled json, or without the name of another language.
_JSON: Final = re.compile(r"[ \t]*(?:(json)(?!\w)|(?=\W))", re.IGNORECASE)
_SPACES: Final = re.compile(r"[ \t\n\r]*")  # JSON's white space
_HALF: Final = re.compile("[\ud800-\udfff]")


class NotJsonError(ValueError):
    """A text is not valid JSON; the message gives the reason in a few words."""


def read(text: str) -> Any:
    """Parse a text that is JSON from start to end.

    Raises NotJsonError for anything else, including NaN and the infinities, keys that are duplicate
    or contain a lone surrogate, an exponent too large for `Decimal`, and more than `DEEPEST`
    levels.
    """
    found, end = _at(text, _after_spaces(text, 0))
    if _after_spaces(text, end) < len(text):
        raise NotJsonError(f"there is more than JSON (from character {end + 1} on)")
    return found


def read_fenced(text: str) -> Any:
    """Like `read`, but if the text is not JSON, parse the content of a fence in it.

    Of several fences, the first labelled json is used, else the first without a language. The end
    of the text may close it. Raises NotJsonError like `read`.
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
    """Yield each fence that may hold JSON: start of its content, signs, whether labelled json."""
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
    """The value at `start`, and where it ends."""
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
    """Whether lists and objects are nested more than `DEEPEST` levels deep."""
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
    distinct([(normalize("NFC", key), value) for key, value in pairs])
    if any(_HALF.search(key) for key, _ in pairs):
        raise NotJsonError("a key holds half of a surrogate pair, which is no character")
    return dict(pairs)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_number,
    parse_float=_number,
    parse_constant=no_number,
)
