"""The words of a text in any script, for finding texts that say the same."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache
from itertools import islice
from typing import Final

# Scripts that put no space between words: each letter, with its marks, is a word of its own.
_SINGLE_OF_THE_FIRST_PLANE: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
)
_SINGLE: Final = _SINGLE_OF_THE_FIRST_PLANE + "\U0001b000-\U0001b16f\U00020000-\U0003ffff"
# The other planes, most of all there is, hold ideographs or nothing.
_WITH_MARKS: Final = (range(0x20000), range(0xE0000, 0xE1000))
_plain = re.compile(r"[^\W_]+")


def fold(text: str) -> str:
    """Text without the differences of case and of compatible characters (NFKC)."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def words(text: str) -> list[str]:
    """Runs of letters, digits and combining marks of the folded text.

    Chinese and Japanese characters, and Thai, Lao, Burmese and Khmer letters, are each a word:
    these scripts put no spaces between words. Eight of them say less than eight words of English.
    """
    folded = fold(text)
    return _pattern(folded).findall(folded)


def has_words(text: str, count: int) -> bool:
    """Whether a text has so many words or more, of which no more than these are looked for."""
    folded = fold(text)
    return len(list(islice(_pattern(folded).finditer(folded), count))) == count


def extract(text: str, first: int, last: int) -> str:
    """The folded text from word `first` up to and with word `last`, punctuation between them."""
    folded = fold(text)
    spans = [found.span() for found in _pattern(folded).finditer(folded)]
    return folded[spans[first][0] : spans[last][1]]


def _pattern(folded: str) -> re.Pattern[str]:
    if folded.isascii():
        return _plain
    needed, careful = _patterns("\uffff" if max(folded) <= "\uffff" else chr(sys.maxunicode))
    # Most texts do not need the careful one, which takes several times as long.
    return careful if needed.search(folded) else _plain


@cache
def _patterns(last: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What only a careful pattern can read, and that pattern, for characters up to `last`.

    Classes that end at U+FFFF are looked up in a table; longer ones are searched through.
    """
    single = _SINGLE if last > "\uffff" else _SINGLE_OF_THE_FIRST_PLANE
    # `\w` leaves out combining marks, without which Indic words fall apart into consonants.
    places = (chr(code) for part in _WITH_MARKS for code in part if code <= ord(last))
    marks = "".join(place for place in places if unicodedata.category(place)[0] == "M")
    careful = re.compile(f"[{single}][{marks}]*|(?:[^\\W_{single}]|[{marks}])+")
    return re.compile(f"[{single}{marks}]"), careful
