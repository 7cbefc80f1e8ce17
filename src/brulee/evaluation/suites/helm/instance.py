"""What a scenario is made of, whatever file it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Instance:
    """One item of a scenario.

    `answers` are the options of multiple choice, the passages to be ranked, or all right answers of
    an open question; `right` says which of them are right, the first being the one that a solved
    example shows. `relevance` grades passages.
    """

    id: str
    text: str
    answers: tuple[str, ...]
    right: tuple[int, ...]
    relevance: tuple[int, ...] = ()

    @property
    def answer(self) -> str:
        """The answer that a solved example shows."""
        return self.answers[self.right[0]]

    @property
    def references(self) -> tuple[str, ...]:
        """All right answers."""
        return tuple(self.answers[i] for i in self.right)


@dataclass(frozen=True)
class Instances:
    """Those that solved examples are drawn from, and those that are asked."""

    solved: Sequence[Instance]
    asked: Sequence[Instance]


def open_question(id_: str, text: str, answers: Sequence[str]) -> Instance:
    """An item whose answers are all right; equal ones are kept once."""
    distinct = tuple(dict.fromkeys(answers))
    return Instance(id_, text, distinct, tuple(range(len(distinct))))


def passage_question(passage: str, question: str, before: str = "", between: str = "\n") -> str:
    """A passage and a question about it, as HELM puts them together."""
    return f"{before}{passage}{between}Question: {question}"
