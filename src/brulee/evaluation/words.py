"""The words of a text as ROUGE counts them."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

from brulee.errors import unknown

# Scripts written without spaces between words: each character is a separate word.
_SINGLE = (
    "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
_STEMMED_FROM = 4  # characters; shorter words stay as they are

# Byte -> itself if it is one of a-z and 0-9, else a space.
_KEPT = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789")
_GOOGLE = bytes(byte if byte in _KEPT else ord(" ") for byte in range(256))


def google(text: str) -> list[str]:
    """Runs of a-z and 0-9 of the lowercased text, as in rouge_score 0.1.2.

    Letters outside a-z separate words, so text in another script has no words at all.
    """
    # Twice as fast as a regular expression, and tokenisation takes most of a score's time.
    plain = text.lower().encode("ascii", "replace").translate(_GOOGLE)
    return plain.decode("ascii").split()


def unicode(text: str) -> list[str]:
    """Runs of letters, digits and combining marks of the NFKC-casefolded text.

    Han, Hiragana and Katakana characters are separate words. Thai, Lao, Khmer and Burmese, also
    written without spaces, are not segmented. ASCII text gives the same words as `google`.
    """
    return _unicode_pattern().findall(_folded(text))


def characters(text: str) -> list[str]:
    """Every letter or digit of the NFKC-casefolded text, each with its combining marks.

    For scripts without spaces that `unicode` does not segment, such as Thai, and for
    character-level scores.
    """
    return _character_pattern().findall(_folded(text))


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {
    "google": google,
    "unicode": unicode,
    "characters": characters,
}


def tokenizer(name: str, stem: bool) -> tuple[Callable[[str], list[str]], Callable[[str], str]]:
    """The function that splits a text into words, and the one that stems a word (or does not).

    Raises InputError for an unknown name.
    """
    if name not in TOKENIZERS:
        raise unknown("ROUGE tokenizer", name, TOKENIZERS)
    return TOKENIZERS[name], stemmed if stem else str


@lru_cache(maxsize=1 << 17)
def stemmed(word: str) -> str:
    """The Porter stem in NLTK's default mode; words of three characters or fewer are kept."""
    if len(word) < _STEMMED_FROM or not word.isascii():
        return word
    return str(_porter().stem(word))


@cache
def _porter() -> Any:
    # Importing NLTK takes over a second; only stemmed scores need it.
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


@cache
def _unicode_pattern() -> re.Pattern[str]:
    # `\w` excludes combining marks, without which Indic words split into consonants.
    return re.compile(f"[{_SINGLE}]|(?:[^\\W_{_SINGLE}]|[{_marks()}])+")


@cache
def _character_pattern() -> re.Pattern[str]:
    return re.compile(f"[^\\W_][{_marks()}]*")


@cache
def _marks() -> str:
    return "".join(
        chr(c) for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c))[0] == "M"
    )
