"""Robustness: typical typing noise. The meaning stays; answers are not changed."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Final, final

from brulee.evaluation import word_lists
from brulee.evaluation.perturbations.base import Concern, Substitution

MISSPELT: Final = 0.1  # the share of words with a known misspelling that are misspelt
MOST_SPACES: Final = 3


@final
class Lowercase:
    """Everything in lower case."""

    concern: Concern = "robustness"
    answers = False

    def change(self, texts: Sequence[str], rng: random.Random) -> list[str]:
        """The texts in lower case."""
        del rng  # not random
        return [text.lower() for text in texts]


@final
class Contractions:
    """Every "is not" as "isn't", every "I am" as "I'm"."""

    concern: Concern = "robustness"
    answers = False

    @cached_property
    def _words(self) -> Substitution:
        return Substitution(word_lists.bundled("contractions"))

    def change(self, texts: Sequence[str], rng: random.Random) -> list[str]:
        """The texts with contractions."""
        return [self._words.change(text, rng) for text in texts]


@final
class Misspellings:
    """Common misspellings of common words, each with a probability."""

    concern: Concern = "robustness"
    answers = False

    @cached_property
    def _words(self) -> Substitution:
        return Substitution(word_lists.bundled("misspellings"), MISSPELT)

    def change(self, texts: Sequence[str], rng: random.Random) -> list[str]:
        """The texts with some words misspelt."""
        return [self._words.change(text, rng) for text in texts]


@final
class Spaces:
    """One to three spaces between words; line breaks stay."""

    concern: Concern = "robustness"
    answers = False

    def change(self, texts: Sequence[str], rng: random.Random) -> list[str]:
        """The texts with random numbers of spaces."""

        def gap(found: re.Match[str]) -> str:
            del found
            return " " * rng.randint(1, MOST_SPACES)

        return [re.sub(" +", gap, text) for text in texts]


@final
class MildMix:
    """HELM's mixture: lowercase, then contractions, misspellings and spaces."""

    concern: Concern = "robustness"
    answers = False

    def __init__(self) -> None:
        self.steps = (Lowercase(), Contractions(), Misspellings(), Spaces())

    def change(self, texts: Sequence[str], rng: random.Random) -> list[str]:
        """The texts after all four changes."""
        changed = list(texts)
        for step in self.steps:
            changed = step.change(changed, rng)
        return changed
