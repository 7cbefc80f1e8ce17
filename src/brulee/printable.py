"""Text made safe to show: without what steers a terminal, without the passwords of URLs."""

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


# postgresql://USER:PASSWORD@HOST/NAME, whose password may have "/" and "@" in it, or ?password=. A
# token may stand alone: https://TOKEN@HOST. In https://HOST:PORT/a@b, no password may have a "/".
# After a comma, another URL may follow.
_PORT = r"(?!(?:(?<=http://)|(?<=https://))[^\s/@:]+:\d+/)"
_SAME = r"(?!,[a-z][a-z\d+.-]*://)"
_PASSWORD = re.compile(
    rf"(?<=://){_PORT}((?:{_SAME}[^\s/@:])*:)(?:{_SAME}\S)+(?=@)"
    r"|(?<=://)[^\s/@]+(?=@)"
    rf"|([?&]pass(?:word|wd)=)(?:{_SAME}[^\s&])+"
)


def without_passwords(text: str) -> str:
    """The text with *** for the password, or the lone token, of each URL."""
    return _PASSWORD.sub(lambda found: f"{found[1] or found[2] or ''}***", text)
