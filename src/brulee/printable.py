"""Text from strangers as a terminal may show it."""

from __future__ import annotations

import re

# Control characters but for line breaks and tabs, those that turn the direction of writing, and
# halves of surrogate pairs, which no terminal can be sent.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    """The text with a blank for each character that would steer the terminal."""
    return _STEERING.sub(" ", text)
