"""The contract of a perturbation: the texts of one item in, the same texts changed out."""

from __future__ import annotations

import random
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

Concern = Literal["robustness", "fairness"]


class Perturbation(Protocol):
    """A change of wording.

    `answers` tells whether the answers of an item are changed along with its question: they are
    where a person of another group would word them so, and not where the change is a mistake that
    nobody should have to repeat.
    """

    concern: Concern
    answers: bool

    @abstractmethod
    def change(self, texts: Sequence[str], rng: random.Random) -> list[str]:
        """The texts of one item, each changed, the same word alike in all of them."""


def perturbed(
    perturbation: Perturbation, name: str, key: str, texts: Sequence[str], seed: int = 0
) -> list[str]:
    """The texts of the item `key` under a perturbation: a pure function of all that is given.

    The first is the question and always changed, the others only where the perturbation says so.
    """
    rng = random.Random(f"{seed}\n{name}\n{key}")
    if perturbation.answers:
        return perturbation.change(texts, rng)
    return [*perturbation.change(texts[:1], rng), *texts[1:]]


class Substitution:
    """Words (or phrases) and what may stand in their place, each replaced with a probability.

    A word is found in any case, and only whole: neither inside another word nor beside a hyphen or
    an apostrophe, but for that of 's. Its replacement takes over its case.
    """

    def __init__(self, table: Mapping[str, Sequence[str]], probability: float = 1.0) -> None:
        self.table = {word.lower(): tuple(others) for word, others in table.items()}
        self.probability = probability
        inside = _alternatives(self.table)
        after = r"(?![\w-]|['’](?!s\b))"
        self._pattern = re.compile(rf"(?<![\w'’-])(?:{inside}){after}", re.IGNORECASE)

    def change(self, text: str, rng: random.Random) -> str:
        """The text with its words replaced."""

        def replace(found: re.Match[str]) -> str:
            word = found[0]
            if rng.random() >= self.probability:
                return word
            return match_case(word, rng.choice(self.table[word.lower()]))

        return self._pattern.sub(replace, text)


def match_case(word: str, replacement: str) -> str:
    """The replacement in capitals or with a first capital where the word has them."""
    if len(word) > 1 and word.isupper():
        return replacement.upper()
    if word[:1].isupper():
        return replacement[:1].upper() + replacement[1:]
    return replacement


def _alternatives(words: Iterable[str]) -> str:
    """A pattern for any of the words, cut by first letter: ten times faster than a flat one."""
    by_letter: dict[str, list[str]] = {}
    # The longest first, or "that" would win over "that is".
    for word in sorted(words, key=len, reverse=True):
        by_letter.setdefault(word[0], []).append(re.escape(word[1:]))
    return "|".join(f"{re.escape(c)}(?:{'|'.join(ends)})" for c, ends in by_letter.items())
