"""The interface of a perturbation, which changes the texts of one item."""

from __future__ import annotations

import random
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

Concern = Literal["robustness", "fairness"]


class Perturbation(Protocol):
    """A change of wording.

    `answers` says whether an item's answers change along with its question: they do if a person of
    another group would phrase them that way, and not if the change is a mistake that an answer need
    not repeat.
    """

    concern: Concern
    answers: bool

    @abstractmethod
    def change(self, texts: Sequence[str], rng: random.Random) -> list[str]:
        """Change the texts of one item."""


def perturbed(
    perturbation: Perturbation, name: str, key: str, texts: Sequence[str], seed: int = 0
) -> list[str]:
    """The texts of the item `key` under a perturbation: a pure function of its arguments.

    The first text is the question and always changed, the others only if the perturbation's
    `answers` is true.
    """
    rng = random.Random(f"{seed}\n{name}\n{key}")
    if perturbation.answers:
        return perturbation.change(texts, rng)
    return [*perturbation.change(texts[:1], rng), *texts[1:]]


class Substitution:
    """Words (or phrases) and their possible replacements, each applied with a probability.

    Matches whole words in any case: not inside another word nor next to a hyphen or an apostrophe,
    except before 's. The replacement keeps the case.
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
    """The replacement in upper case, or with an initial capital, if the word has it."""
    if len(word) > 1 and word.isupper():
        return replacement.upper()
    if word[:1].isupper():
        return replacement[:1].upper() + replacement[1:]
    return replacement


def _alternatives(words: Iterable[str]) -> str:
    """A pattern for any of the words, grouped by first letter: ten times faster than a flat one."""
    by_letter: dict[str, list[str]] = {}
    # The longest first, or "that" would match before "that is".
    for word in sorted(words, key=len, reverse=True):
        by_letter.setdefault(word[0], []).append(re.escape(word[1:]))
    return "|".join(f"{re.escape(c)}(?:{'|'.join(ends)})" for c, ends in by_letter.items())
