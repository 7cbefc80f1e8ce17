"""Untrusted text made safe to print on a terminal."""

from __future__ import annotations

import re

# Control characters except newline and tab, Unicode line separators, bidirectional controls, and
# lone surrogates, which cannot be encoded.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    """The text with a space for each character that would control the terminal."""
    return _STEERING.sub(" ", text)
