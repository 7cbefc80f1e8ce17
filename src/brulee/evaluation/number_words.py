"""Numbers written in words: "twenty-five", "two thousand and ten", "third"."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS: Final = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ORDINALS: Final = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    "eleventh", "twelfth",
)  # fmt: skip

SCALES: Final = {
    "hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "dozen": 12.0,
}  # fmt: skip
SMALL: Final = {
    **{word: float(value) for value, word in enumerate(_UNITS)},
    **{word: 10.0 * value for value, word in enumerate(_TENS, start=2)},
    **{word: float(value) for value, word in enumerate(_ORDINALS, start=1)},
    **{f"{word}th": float(value) for value, word in enumerate(_UNITS) if value >= 13},
    **{f"{word[:-1]}ieth": 10.0 * value for value, word in enumerate(_TENS, start=2)},
}

_one = "|".join(sorted([*SMALL, *SCALES], key=len, reverse=True))
NUMBER_WORDS: Final = re.compile(rf"\b(?:{_one})(?:(?:[ -]|\sand\s)(?:{_one}))*\b", re.IGNORECASE)
_words = re.compile(r"[a-z]+").findall


def values(text: str) -> list[float]:
    """The numbers in a sequence of number words, in order.

    "three thirty" is two numbers, "nineteen ninety-nine" is 19 and 99.
    """
    found: list[float] = []
    total, group, last = 0.0, 0.0, 0.0
    started = False
    for word in (w for w in _words(text.lower()) if w != "and"):
        if word in SCALES:
            group = max(group, 1.0) * SCALES[word]
            if SCALES[word] >= 1e3:
                total, group = total + group, 0.0
            last = SCALES[word]
        else:
            value = SMALL[word]
            if started and not _follows(last, value):
                found.append(total + group)
                total, group = 0.0, 0.0
            group += value
            last = value
        started = True
    return [*found, total + group]


def _follows(last: float, value: float) -> bool:
    """Whether a value continues a number: a digit after tens, anything smaller after hundreds."""
    if last >= 100:
        return value < last
    return 20 <= last < 100 and last % 10 == 0 and 0 < value < 10
