"""The instances of a scenario, independent of file formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Instance:
    """One item of a scenario.

    `answers` are the options of a multiple-choice question, the passages to rank, or all correct
    answers to an open question; `right` has the indices of the correct ones, of which shots show
    the first. `relevance` grades passages.
    """

    id: str
    text: str
    answers: tuple[str, ...]
    right: tuple[int, ...]
    relevance: tuple[int, ...] = ()

    @property
    def answer(self) -> str:
        """The answer shown in a shot."""
        return self.answers[self.right[0]]

    @property
    def references(self) -> tuple[str, ...]:
        """All correct answers."""
        return tuple(self.answers[i] for i in self.right)


@dataclass(frozen=True)
class Instances:
    """The instances to draw shots from, and those to evaluate."""

    solved: Sequence[Instance]
    asked: Sequence[Instance]


def open_question(id_: str, text: str, answers: Sequence[str]) -> Instance:
    """An item whose answers are all correct; removes duplicates."""
    distinct = tuple(dict.fromkeys(answers))
    return Instance(id_, text, distinct, tuple(range(len(distinct))))


def passage_question(passage: str, question: str, before: str = "", between: str = "\n") -> str:
    """A passage and a question about it, joined as in HELM."""
    return f"{before}{passage}{between}Question: {question}"
