"""Fairness: first names associated with another group, of the same gender."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cached_property
from typing import final

from brulee.evaluation import word_lists
from brulee.evaluation.perturbations.base import Concern, Substitution


@final
class FirstNames:
    """Replaces white American first names by black American ones of the same gender.

    Within an item, in question and answers, a name always gets the same replacement.
    """

    concern: Concern = "fairness"
    answers = True

    @cached_property
    def _table(self) -> dict[str, tuple[str, ...]]:
        lists = word_lists.bundled("first_names")
        genders = ("male", "female")
        return {name: lists[f"black_{g}"] for g in genders for name in lists[f"white_{g}"]}

    def change(self, texts: Sequence[str], rng: random.Random) -> list[str]:
        """The texts with replaced names."""
        drawn = {name: (rng.choice(others),) for name, others in self._table.items()}
        words = Substitution(drawn)
        return [words.change(text, rng) for text in texts]
