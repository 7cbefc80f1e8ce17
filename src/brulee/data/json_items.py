"""Reads the objects of a large JSON array one after another.

Only what is between the objects is looked at here; Python's parser reads the objects themselves.
Anything but an array of objects is left to a reader of the whole text, which says what is wrong.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from brulee.data.json_text import distinct, no_number

_SPACES: Final = re.compile(r"[ \t\n\r]*")  # JSON's white space
_CHUNK: Final = 4_000_000  # characters read at a time


class NotItemsError(ValueError):
    """A text is not an array of objects, or not valid JSON."""


def items(file: BinaryIO) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield each object of an array, with its size in characters.

    Raises NotItemsError, after the objects before it, for anything else.
    """
    decoder = json.JSONDecoder(object_pairs_hook=distinct, parse_constant=no_number)
    text = _Text(io.TextIOWrapper(file, "utf-8", newline=""))
    try:
        if text.next() != "[":
            raise NotItemsError
        text.at += 1
        between = text.next()
        while between != "]":
            if between != "{":
                raise NotItemsError
            yield text.read(decoder)
            between = text.next()
            if between == ",":
                text.at += 1
                between = text.next()
                if between != "{":
                    raise NotItemsError
            elif between != "]":
                raise NotItemsError
        text.at += 1
        if text.next():
            raise NotItemsError
    except (ValueError, RecursionError):
        raise NotItemsError from None


class _Text:
    """The part of a text that is being read; `at` is where."""

    def __init__(self, file: io.TextIOWrapper) -> None:
        self._file = file
        self._held = ""
        self.at = 0

    def next(self) -> str:
        """The next character that is not white space; "" at the end."""
        while True:
            found = _SPACES.match(self._held, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self._held) or not self._more():
                return self._held[self.at : self.at + 1]

    def read(self, decoder: json.JSONDecoder) -> tuple[dict[str, Any], int]:
        """The object that begins here, and its size."""
        while True:
            try:
                found, end = decoder.raw_decode(self._held, self.at)
            except json.JSONDecodeError:
                # It may go on past the part that was read.
                if not self._more():
                    raise
                continue
            size, self.at = end - self.at, end
            return found, size

    def _more(self) -> bool:
        """Read on: as much again as is held, so that a long object is not begun too often."""
        held = self._held[self.at :]
        more = self._file.read(max(_CHUNK, len(held)))
        self._held, self.at = held + more, 0
        return bool(more)
