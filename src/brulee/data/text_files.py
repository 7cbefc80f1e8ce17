"""Plain text files as documents.

Of several files each is a document. A single file is cut into sections, so that some of them can be
held out: at the first blank line past 4,000 characters, or, if there is none, as in a file with one
document per line, at the first line end past 8,000.
"""

from __future__ import annotations

import re
from typing import Final

SUFFIXES: Final = (".txt", ".md")
SECTION: Final = 4000  # characters: about a thousand tokens of English
_LINE_ENDS: Final = re.compile(r"\r\n?")
_GAP: Final = re.compile(r"\n(?:[ \t]*\n)*")


def document(text: str) -> str:
    """A file as one document, with LF line ends, and no blank lines at its start and end."""
    return _LINE_ENDS.sub("\n", text).strip("\n")


def sections(text: str) -> list[tuple[int, str]]:
    """The sections of a file, each with the number of its first line; lines are not cut."""
    text = _LINE_ENDS.sub("\n", text)
    found: list[tuple[int, str]] = []
    start, line = 0, 1
    for gap in [*_GAP.finditer(text), None]:
        end = gap.start() if gap else len(text)
        if gap and end - start < SECTION * (1 if gap[0].count("\n") > 1 else 2):
            continue
        section = text[start:end]
        if section.strip():
            blank = len(section) - len(section.lstrip("\n"))
            found.append((line + blank, section.strip("\n")))
        if gap:
            line += text.count("\n", start, gap.end())
            start = gap.end()
    return found
