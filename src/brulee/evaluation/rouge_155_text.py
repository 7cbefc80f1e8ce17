"""Texts as ROUGE-1.5.5 reads them: bytes, one sentence per line, limits on words or bytes.

The script ignores encodings: a non-ASCII byte separates words, and a byte limit may split a
character. It applies a byte limit in two ways, as does this module: for n-grams the bytes of all
sentences count towards the limit, for LCS those of each sentence separately.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Final

from brulee.evaluation import word_lists
from brulee.evaluation.rouge_155_stem import stemmed

_words = re.compile(rb"[a-z0-9]+").findall
_spaces = re.compile(rb"\s+").split


@dataclass(frozen=True)
class Reading:
    """Tokenisation options: the script's -m, -s, -l and -b (a limit of 0 means none)."""

    stem: bool = False
    drop_stop_words: bool = False
    words: int = 0
    bytes: int = 0


PLAIN: Final = Reading()


@dataclass(frozen=True)
class Text:
    """The words of a text, as one list and by sentence."""

    tokens: list[str]
    sentences: list[list[str]]


def read(text: str, reading: Reading) -> Text:
    """The words of a text; never raises."""
    # An unpaired surrogate is not a character; its bytes separate words like other non-ASCII ones.
    lines = [line for line in text.encode("utf-8", "surrogatepass").lower().split(b"\n") if line]
    if reading.words:
        lines = kept = _first_words(lines, reading.words)
    elif reading.bytes:
        kept = _first_bytes(lines, reading.bytes)
        lines = _each_first_bytes(lines, reading.bytes)
    else:
        kept = lines
    return Text(
        _tokens(b" ".join(kept), reading), [_tokens(sentence, reading) for sentence in lines]
    )


def _tokens(text: bytes, reading: Reading) -> list[str]:
    words = [word.decode("ascii") for word in _words(text)]
    if reading.drop_stop_words:
        words = [word for word in words if word not in _stop_words()]
    return [stemmed(word) for word in words] if reading.stem else words


@cache
def _stop_words() -> frozenset[str]:
    by_letter = word_lists.bundled("stop_words").values()
    return frozenset(word for words in by_letter for word in words)


def _first_words(lines: list[bytes], limit: int) -> list[bytes]:
    kept: list[bytes] = []
    count = 0
    for line in lines:
        words = _fields(line)
        if count + len(words) >= limit:
            return [*kept, b" ".join(words[: limit - count])]
        kept.append(line)
        count += len(words)
    return kept


def _fields(line: bytes) -> list[bytes]:
    """The words of a line as Perl splits it: leading white space counts as an empty word."""
    words = _spaces(line)
    while words and not words[-1]:
        words.pop()
    return words


def _first_bytes(lines: list[bytes], limit: int) -> list[bytes]:
    kept: list[bytes] = []
    count = 0
    for line in lines:
        if count + len(line) >= limit:
            return [*kept, line[: limit - count]]
        kept.append(line)
        count += len(line)
    return kept


def _each_first_bytes(lines: list[bytes], limit: int) -> list[bytes]:
    """Sentences up to the first that alone reaches the limit; earlier ones do not count to it."""
    kept: list[bytes] = []
    for line in lines:
        if len(line) >= limit:
            return [*kept, line[:limit]]
        kept.append(line)
    return kept
