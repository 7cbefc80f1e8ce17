"""List markers: the letters, numbers and bullets before the entries of a list."""

from __future__ import annotations

import re
from typing import Final

_BULLET: Final = r"[-*•–]|(?:choice|option)[ \t]*:"
_NUMBER: Final = r"\(?(?:[A-Z]|\d{1,2})[.)]"
_ENTRY: Final = re.compile(rf"[ \t]*(?:{_BULLET}|{_NUMBER})[ \t]+(?=\S)", re.IGNORECASE)
# Inside a line only letters with a bracket, "(a)" or "a)", are markers: "J. Smith" is a name.
_WITHIN: Final = re.compile(r"(?:(?<=\s)|^)\(?[A-Za-z]\)[ \t]+", re.MULTILINE)


def entry(line: str) -> str | None:
    """The text of a line after its list marker ("A. clouds": clouds); None if it has no marker."""
    found = _ENTRY.match(line)
    return line[found.end() :] if found else None


def unmarked(text: str) -> str:
    """A text without list markers, including those of options on one line."""
    lines = (line if (said := entry(line)) is None else said for line in text.splitlines())
    joined = "\n".join(lines)
    # Most texts have no bracket, and the search for a marker takes as long as reading the words.
    return _WITHIN.sub("", joined) if ")" in joined else joined
