"""HELM's prompt formats.

    write      [instructions] (input answer)* input ...       the model generates the answer
    joint      the same with the options below the input      the most likely letter
    separate   input + option, for each option, no shots      the most likely option, per token;
               calibrated, the one whose likelihood the question increases most
    rank       passage, query, "Does the passage answer the query?"   Yes or No, for each passage

Blocks are separated by an empty line, and a prompt ends without a space. The formats follow HELM's
common_adapter_specs.py and adapters.
"""

from __future__ import annotations

import string
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, final

from brulee.evaluation.suites.helm.instance import Instance
from brulee.evaluation.tasks import Generation

YES_NO: Final = ("Yes", "No")


@dataclass(frozen=True)
class Question:
    """One request for an instance: a prompt, and the choices unless the answer is generated."""

    text: str
    choices: tuple[str, ...] = ()


class Format(Protocol):
    """The texts of a scenario. `shots` is the number of solved instances before a question."""

    shots: int
    generation: Generation | None

    @property
    def preamble(self) -> str:
        """The text before shots and question."""

    @abstractmethod
    def solved(self, instance: Instance) -> str:
        """An instance with its answer."""

    @abstractmethod
    def questions(self, instance: Instance) -> list[Question]:
        """The requests for an instance: one, or one per passage."""


@final
@dataclass(frozen=True)
class Write(Format):
    """The model generates its answer after "NOUN:"; an input noun likewise precedes the input."""

    answer_noun: str
    input_noun: str | None = None
    instructions: str = ""
    max_new_tokens: int = 5
    shots: int = 5
    before_input: str = ""
    after_input: str = "\n"
    before_answer: str = ""
    stop: tuple[str, ...] = ("\n",)

    @property
    def generation(self) -> Generation:  # type: ignore[override]
        """Up to the end of the line."""
        return Generation(self.max_new_tokens, self.stop)

    @property
    def preamble(self) -> str:
        """The instructions."""
        return _preamble(self.instructions)

    def solved(self, instance: Instance) -> str:
        """Input and answer."""
        return f"{self._input(instance)}{self._answer()}{instance.answer}\n\n"

    def questions(self, instance: Instance) -> list[Question]:
        """The input without an answer."""
        return [Question(f"{self._input(instance)}{self._answer()}".rstrip(" \n"))]

    def _input(self, instance: Instance) -> str:
        noun = f"{self.input_noun}: " if self.input_noun else ""
        return f"{self.before_input}{noun}{instance.text}{self.after_input}"

    def _answer(self) -> str:
        return (
            f"{self.before_answer}{self.answer_noun}: " if self.answer_noun else self.before_answer
        )


@final
@dataclass(frozen=True)
class Joint(Format):
    """All options are shown with letters, and the answer is a letter."""

    instructions: str = ""
    shots: int = 5
    generation: None = None

    @property
    def preamble(self) -> str:
        """The instructions."""
        return _preamble(self.instructions)

    def solved(self, instance: Instance) -> str:
        """Input, options, letter."""
        letter = string.ascii_uppercase[instance.right[0]]
        return f"{self._open(instance)} {letter}\n\n"

    def questions(self, instance: Instance) -> list[Question]:
        """Input and options; the choices are the letters."""
        letters = string.ascii_uppercase[: len(instance.answers)]
        return [Question(self._open(instance), tuple(f" {letter}" for letter in letters))]

    def _open(self, instance: Instance) -> str:
        lettered = zip(string.ascii_uppercase, instance.answers, strict=False)
        options = "".join(f"{letter}. {answer}\n" for letter, answer in lettered)
        return f"Question: {instance.text}\n{options}Answer:"


@final
@dataclass(frozen=True)
class Separate(Format):
    """Each option is scored as the continuation of the input; there are no shots.

    If calibrated, each option is also scored after "Answer:" without the question.
    """

    calibrated: bool = False
    shots: int = 0
    generation: None = None

    @property
    def preamble(self) -> str:
        """Nothing."""
        return ""

    def solved(self, instance: Instance) -> str:
        """Input and correct option."""
        return f"{instance.text} {instance.answer}\n\n"

    def questions(self, instance: Instance) -> list[Question]:
        """The input; the choices are the options."""
        options = tuple(f" {answer}" for answer in instance.answers)
        texts = [instance.text, *(["Answer:"] if self.calibrated else [])]
        return [Question(text, options) for text in texts]


@final
@dataclass(frozen=True)
class Rank(Format):
    """Asks for each passage whether it answers the query.

    A solved instance is two blocks, a relevant passage and an irrelevant one; two are shown.
    """

    shots: int = 2
    generation: None = None

    @property
    def preamble(self) -> str:
        """Nothing."""
        return ""

    def solved(self, instance: Instance) -> str:
        """Each passage with Yes or No."""
        return "".join(
            f"{self._open(instance.text, passage)} {YES_NO[i not in instance.right]}\n\n"
            for i, passage in enumerate(instance.answers)
        )

    def questions(self, instance: Instance) -> list[Question]:
        """One request per passage; the choices are Yes and No."""
        choices = tuple(f" {answer}" for answer in YES_NO)
        return [Question(self._open(instance.text, p), choices) for p in instance.answers]

    def _open(self, query: str, passage: str) -> str:
        return f"Passage: {passage}\nQuery: {query}\nDoes the passage answer the query?\nAnswer:"


def label_question(question: Question, labels: Sequence[str]) -> Question:
    """The same prompt with the labels as choices, instead of a generated answer."""
    return Question(question.text, tuple(f" {label}" for label in labels))


def _preamble(instructions: str) -> str:
    return f"{instructions}\n\n" if instructions else ""
