"""The stemmer of ROUGE-1.5.5: Porter's (1980) with the script's departures from it.

Step 4 does not stop after the first suffix: after removing -al, -er and the like it may also remove
-ment, -ent or -ion, so that "commissioner" becomes "commiss". A list of irregular forms ("ate" is
"eat") is applied before the rules; forms in that list are not stemmed further.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from brulee.evaluation import word_lists

STEMMED_FROM: Final = 4  # letters; shorter words stay as they are

# A word is [C](VC){m}[V] for runs of consonants C and vowels V; m is its measure.
_C, _V = "[^aeiou][^aeiouy]*", "[aeiouy][aeiou]*"
_vowel = re.compile(f"(?:{_C})?[aeiouy]").match
_above_0 = re.compile(f"(?:{_C})?{_V}{_C}").match
_above_1 = re.compile(f"(?:{_C})?{_V}{_C}{_V}{_C}").match
_exactly_1 = re.compile(f"(?:{_C})?{_V}{_C}(?:{_V})?$").match
_short = re.compile(f"{_C}[aeiouy][^aeiouwxy]$").match
_doubled = re.compile(r"([^aeiouylsz])\1$").search

_STEP_2: Final = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "bli": "ble",
    "alli": "al", "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate",
    "ator": "ate", "alism": "al", "iveness": "ive", "fulness": "ful", "ousness": "ous",
    "aliti": "al", "iviti": "ive", "biliti": "ble", "logi": "log",
}  # fmt: skip
_STEP_3: Final = {
    "icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": "",
}  # fmt: skip
_STEP_4: Final = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
)  # fmt: skip


@lru_cache(maxsize=1 << 17)
def stemmed(word: str) -> str:
    """The stem of a lowercase ASCII word; words of up to three letters are kept."""
    if len(word) < STEMMED_FROM:
        return word
    irregular = word_lists.bundled("irregular_forms").get(word)
    return irregular[0] if irregular else porter(word)


@lru_cache(maxsize=1 << 17)
def porter(word: str) -> str:
    """The word without its suffixes, by the rules alone."""
    if len(word) < 3:
        return word
    # An initial y is a consonant; a capital Y does not match the vowel patterns.
    word = "Y" + word[1:] if word[0] == "y" else word
    word = _step_4(_replaced(_replaced(_step_1(word), _STEP_2), _STEP_3))
    word = _step_5(word)
    return "y" + word[1:] if word[0] == "Y" else word


def _step_1(word: str) -> str:
    """Remove plural endings, -ed and -ing; replace y by i."""
    if word.endswith(("sses", "ies")):
        word = word[:-2]
    elif re.search("[^s]s$", word):
        word = word[:-1]
    if word.endswith("eed"):
        word = word[:-1] if _above_0(word[:-3]) else word
    elif word.endswith(("ed", "ing")):
        stem = word[: -2 if word.endswith("ed") else -3]
        word = _mended(stem) if _vowel(stem) else word
    if word.endswith("y") and _vowel(word[:-1]):
        word = word[:-1] + "i"
    return word


def _mended(stem: str) -> str:
    """Fix the stem left after removing -ed or -ing: "hop" from "hopp", "file" from "fil"."""
    if stem.endswith(("at", "bl", "iz")):
        return stem + "e"
    if _doubled(stem):
        return stem[:-1]
    return stem + "e" if _short(stem) else stem


def _replaced(word: str, endings: dict[str, str]) -> str:
    """Replace the word's longest ending in the table if the stem before it is long enough."""
    ending = max((e for e in endings if word.endswith(e)), key=len, default="")
    stem = word.removesuffix(ending)
    return stem + endings[ending] if ending and _above_0(stem) else word


def _step_4(word: str) -> str:
    ending = max((e for e in _STEP_4 if word.endswith(e)), key=len, default="")
    word = _without(word, ending)
    word = _without(word, "ment")
    if word.endswith("ent"):
        return _without(word, "ent")
    return _without(word, "ion") if word.endswith(("sion", "tion")) else word


def _without(word: str, ending: str) -> str:
    stem = word.removesuffix(ending)
    return stem if _above_1(stem) else word


def _step_5(word: str) -> str:
    if word.endswith("e"):
        stem = word[:-1]
        if _above_1(stem) or (_exactly_1(stem) and not _short(stem)):
            word = stem
    return word[:-1] if word.endswith("ll") and _above_1(word) else word
