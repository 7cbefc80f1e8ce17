"""A text as a string with one code point per word, which sets, slices and LCS are fast on."""

from __future__ import annotations

from functools import cache
from typing import Final

from brulee.evaluation.words import tokenizer

_FULL: Final = 1 << 16  # words, after which a table starts again, so that it cannot grow for ever


class Table(dict[str, str]):
    """Word -> code point, numbered as they come; inflections share one where words are stemmed."""

    def __init__(self, name: str, stem: bool) -> None:
        super().__init__()
        self.split, self.stem = tokenizer(name, stem)
        self.codes: dict[str, str] = {}

    def __missing__(self, word: str) -> str:
        stem = self.stem(word)
        # A stem without letters is no word.
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
    """The table of a tokenizer; asked for item by item, since it may start again in between."""
    found = _table(name, stem)
    if len(found) > _FULL:
        found.clear()
        found.codes.clear()
    return found


class Text:
    """One text under a table, with its lines for the scores that read line by line."""

    __slots__ = ("text", "tokens", "words")

    def __init__(self, text: str, words: Table) -> None:
        self.text, self.words = text, words
        self.tokens = words.encode(text)

    @property
    def lines(self) -> list[str]:
        """The words line by line."""
        return [self.words.encode(line) for line in self.text.split("\n")]
