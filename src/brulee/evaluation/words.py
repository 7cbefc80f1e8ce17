"""The words of a text as ROUGE counts them."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from typing import Any

from brulee.errors import unknown

# Scripts written without spaces between words: each character is a word of its own.
_SINGLE = (
    "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
_STEMMED_FROM = 4  # characters; shorter words stay as they are

_google = re.compile(r"[a-z0-9]+").findall


def google(text: str) -> list[str]:
    """Runs of a-z and 0-9 of the lowercased text, as in rouge_score 0.1.2.

    Letters outside a-z separate words, so text in another script has no words at all.
    """
    return _google(text.lower())


def unicode(text: str) -> list[str]:
    """Runs of letters, digits and combining marks of the NFKC-casefolded text.

    Han, Hiragana and Katakana characters are words of their own. Thai, Lao, Khmer and Burmese,
    which write no spaces either, are not segmented. ASCII text gives the same words as `google`.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _unicode_pattern().findall(folded)


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {"google": google, "unicode": unicode}


def tokenizer(name: str, stem: bool) -> Callable[[str], Iterable[str]]:
    """Text -> words, Porter-stemmed on request; an unknown name raises InputError."""
    if name not in TOKENIZERS:
        raise unknown("ROUGE tokenizer", name, TOKENIZERS)
    words = TOKENIZERS[name]
    if not stem:
        return words
    return lambda text: filter(None, map(stemmed, words(text)))


@lru_cache(maxsize=1 << 17)
def stemmed(word: str) -> str:
    """The Porter stem in NLTK's default mode; words of three characters or fewer are kept."""
    if len(word) < _STEMMED_FROM or not word.isascii():
        return word
    return str(_porter().stem(word))


@cache
def _porter() -> Any:
    # Importing NLTK takes over a second, which only a stemmed score should pay.
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()


@cache
def _unicode_pattern() -> re.Pattern[str]:
    # `\w` leaves out combining marks, without which Indic words fall apart into consonants.
    marks = "".join(
        chr(c) for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c))[0] == "M"
    )
    return re.compile(f"[{_SINGLE}]|(?:[^\\W_{_SINGLE}]|[{marks}])+")
