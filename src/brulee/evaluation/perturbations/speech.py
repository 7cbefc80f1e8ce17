"""Fairness: the same text in another dialect, or about another gender."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cached_property
from typing import Literal, final

from brulee.evaluation import word_lists
from brulee.evaluation.perturbations.base import Concern, Substitution

Kind = Literal["pronoun", "term"]


@final
class Dialect:
    """Rewrites Standard American English as African American English by replacing words.

    `table` is a user's list (word_lists.read), such as that of Ziems et al. (2022).
    """

    concern: Concern = "fairness"
    answers = True

    def __init__(self, table: word_lists.Table | None = None) -> None:
        self._table = table

    @cached_property
    def _words(self) -> Substitution:
        return Substitution(self._table or word_lists.bundled("dialect"))

    def change(self, texts: Sequence[str], rng: random.Random) -> list[str]:
        """The texts in the other dialect."""
        return [self._words.change(text, rng) for text in texts]


@final
class Gender:
    """Replaces male pronouns, or male terms ("father", "king"), by female ones.

    Without parsing, "his" always becomes "her", never "hers": HELM also takes the first match.
    """

    concern: Concern = "fairness"
    answers = True

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    @cached_property
    def _words(self) -> Substitution:
        listed = word_lists.bundled("gender")
        return Substitution({m: (f,) for m, (kind, f) in listed.items() if kind == self.kind})

    def change(self, texts: Sequence[str], rng: random.Random) -> list[str]:
        """The texts with female words."""
        return [self._words.change(text, rng) for text in texts]
