"""Texts as ROUGE-1.5.5 reads them: bytes, one sentence a line, limits on words or bytes.

The script knows no encoding: a byte outside ASCII separates words, and a limit in bytes may cut a
character. With a limit it reads a text twice in two ways, which this keeps: for n-grams the bytes
of all sentences count towards the limit, for LCS those of each sentence alone.
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
    """How texts become words: the script's -m, -s, -l and -b (a limit of 0 is none)."""

    stem: bool = False
    drop_stop_words: bool = False
    words: int = 0
    bytes: int = 0


PLAIN: Final = Reading()


@dataclass(frozen=True)
class Text:
    """The words of a text in one row, and again sentence by sentence."""

    tokens: list[str]
    sentences: list[list[str]]


def read(text: str, reading: Reading) -> Text:
    """The words of a text; errors none: every text can be read."""
    # Half a surrogate pair is no character; its bytes separate words like any others.
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
    """The words of a line as Perl splits it: white space in front counts as an empty word."""
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
    """Sentences up to the first that reaches the limit by itself; what went before never counts."""
    kept: list[bytes] = []
    for line in lines:
        if len(line) >= limit:
            return [*kept, line[:limit]]
        kept.append(line)
    return kept
