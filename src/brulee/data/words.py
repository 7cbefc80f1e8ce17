"""The words of a text in any script, for finding duplicate texts."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache
from itertools import islice
from typing import Final

# Scripts without spaces between words: each letter, with its marks, is a word.
_SINGLE_OF_THE_FIRST_PLANE: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
)
_SINGLE: Final = _SINGLE_OF_THE_FIRST_PLANE + "\U0001b000-\U0001b16f\U00020000-\U0003ffff"
# The code points searched for marks; the other planes hold ideographs or are unassigned.
_WITH_MARKS: Final = (range(0x20000), range(0xE0000, 0xE1000))
_plain = re.compile(r"[^\W_]+")
# Translating and splitting an ASCII text is six times as fast as searching it.
_BETWEEN: Final = {code: " " for code in range(128) if not chr(code).isalnum()}


def fold(text: str) -> str:
    """Fold case and compatibility characters (NFKC)."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def words(text: str) -> list[str]:
    """Runs of letters, digits and combining marks of the folded text.

    Chinese and Japanese characters, and Thai, Lao, Burmese and Khmer letters, are each a word:
    these scripts put no spaces between words. Eight of them say less than eight words of English.
    """
    folded = fold(text)
    if folded.isascii():
        return folded.translate(_BETWEEN).split()
    return _pattern(folded).findall(folded)


def has_words(text: str, count: int) -> bool:
    """Whether a text has at least `count` words; the search stops after that many."""
    folded = fold(text)
    if folded.isascii():
        return len(folded.translate(_BETWEEN).split(None, count)) >= count
    return len(list(islice(_pattern(folded).finditer(folded), count))) == count


def extract(text: str, first: int, last: int) -> str:
    """The folded text from word `first` through word `last`, with the punctuation between."""
    folded = fold(text)
    spans = [found.span() for found in _pattern(folded).finditer(folded)]
    return folded[spans[first][0] : spans[last][1]]


def _pattern(folded: str) -> re.Pattern[str]:
    if folded.isascii():
        return _plain
    needed, careful = _patterns("\uffff" if max(folded) <= "\uffff" else chr(sys.maxunicode))
    # The careful pattern is several times slower, and most texts do not need it.
    return careful if needed.search(folded) else _plain


@cache
def _patterns(last: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """The pattern for texts that need the careful pattern, and the careful pattern itself.

    They cover characters up to `last`: `re` looks up classes that end at U+FFFF in a table, but
    searches longer ones linearly.
    """
    single = _SINGLE if last > "\uffff" else _SINGLE_OF_THE_FIRST_PLANE
    # `\w` excludes combining marks, without which Indic words would split into consonants.
    places = (chr(code) for part in _WITH_MARKS for code in part if code <= ord(last))
    marks = "".join(place for place in places if unicodedata.category(place)[0] == "M")
    careful = re.compile(f"[{single}][{marks}]*|(?:[^\\W_{single}]|[{marks}])+")
    return re.compile(f"[{single}{marks}]"), careful
