"""The marks before the entries of a list: letters, numbers and bullets, which say nothing."""

from __future__ import annotations

import re
from typing import Final

_BULLET: Final = r"[-*•–]|(?:choice|option)[ \t]*:"
_NUMBER: Final = r"\(?(?:[A-Z]|\d{1,2})[.)]"
_ENTRY: Final = re.compile(rf"[ \t]*(?:{_BULLET}|{_NUMBER})[ \t]+(?=\S)", re.IGNORECASE)
# In the middle of a line only what is in brackets, or has one after it: "J. Smith" is a name.
_WITHIN: Final = re.compile(r"(?:(?<=\s)|^)\(?[A-Za-z]\)[ \t]+", re.MULTILINE)


def entry(line: str) -> str | None:
    """What a line says after the mark of a list ("A. clouds": clouds), None where it has none."""
    found = _ENTRY.match(line)
    return line[found.end() :] if found else None


def unmarked(text: str) -> str:
    """A text without the marks of its lists, those of options on one line too."""
    lines = (line if (said := entry(line)) is None else said for line in text.splitlines())
    return _WITHIN.sub("", "\n".join(lines))
