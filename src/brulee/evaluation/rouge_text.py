"""A text as a string with one code point per word, for fast sets, slices and LCS."""

from __future__ import annotations

from functools import cache
from typing import Final

from brulee.evaluation.words import tokenizer

_FULL: Final = 1 << 16  # words at which a table is cleared, to bound its memory


class Table(dict[str, str]):
    """Word -> code point, in order of appearance; with stemming, inflections share one."""

    def __init__(self, name: str, stem: bool) -> None:
        super().__init__()
        self.split, self.stem = tokenizer(name, stem)
        self.codes: dict[str, str] = {}

    def __missing__(self, word: str) -> str:
        stem = self.stem(word)
        # An empty stem is not a word.
        code = self.codes.setdefault(stem, chr(len(self.codes) + 1)) if stem else ""
        self[word] = code
        return code

    def encode(self, text: str) -> str:
        """The words of a text, one character each."""
        return "".join(map(self.__getitem__, self.split(text)))


@cache
def _table(name: str, stem: bool) -> Table:
    return Table(name, stem)


def table(name: str, stem: bool) -> Table:
    """The table of a tokenizer; fetch it for each item, because it may be cleared in between."""
    found = _table(name, stem)
    if len(found) > _FULL:
        found.clear()
        found.codes.clear()
    return found


class Text:
    """One text encoded with a table, with its lines for line-based scores."""

    __slots__ = ("text", "tokens", "words")

    def __init__(self, text: str, words: Table) -> None:
        self.text, self.words = text, words
        self.tokens = words.encode(text)

    @property
    def lines(self) -> list[str]:
        """The words line by line."""
        return [self.words.encode(line) for line in self.text.split("\n")]
