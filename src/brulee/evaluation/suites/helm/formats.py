"""How HELM turns an instance into what the model reads.

    write      [instructions] (input answer)* input ...        the model writes the answer
    joint      the same with the options below the input      the likeliest letter
    separate   input + option, for each option, no examples   the likeliest option, per token,
               or calibrated, the one that the question makes likelier than it is by itself
    rank       passage, query, "Does the passage answer the query?"   Yes or No, for each passage

Blocks are parted by an empty line, and what is left open ends without a space. Facts of the formats
from HELM's common_adapter_specs.py and adapters.
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
    """One request of an instance: an open text, and the choices if it is not to be written on."""

    text: str
    choices: tuple[str, ...] = ()


class Format(Protocol):
    """Texts of a scenario. `shots` is how many solved instances stand before a question."""

    shots: int
    generation: Generation | None

    @property
    def preamble(self) -> str:
        """What stands before everything."""

    @abstractmethod
    def solved(self, instance: Instance) -> str:
        """An instance with its answer."""

    @abstractmethod
    def questions(self, instance: Instance) -> list[Question]:
        """An instance left open: one request, or one a passage."""


@final
@dataclass(frozen=True)
class Write(Format):
    """The model writes its answer after "NOUN:"; without an input noun the input stands bare."""

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
        """The input alone."""
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
    """All options are shown with their letters, and a letter is the answer."""

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
    """Each option follows the input; there are no solved examples.

    Calibrated, each option is also asked for after "Answer:" without any question.
    """

    calibrated: bool = False
    shots: int = 0
    generation: None = None

    @property
    def preamble(self) -> str:
        """Nothing."""
        return ""

    def solved(self, instance: Instance) -> str:
        """Input and right option."""
        return f"{instance.text} {instance.answer}\n\n"

    def questions(self, instance: Instance) -> list[Question]:
        """The input; the choices are the options."""
        options = tuple(f" {answer}" for answer in instance.answers)
        texts = [instance.text, *(["Answer:"] if self.calibrated else [])]
        return [Question(text, options) for text in texts]


@final
@dataclass(frozen=True)
class Rank(Format):
    """Whether a passage answers the query, asked for each passage.

    A solved instance is two blocks, a right passage and a wrong one; two of them are shown.
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
        """One request a passage; the choices are Yes and No."""
        choices = tuple(f" {answer}" for answer in YES_NO)
        return [Question(self._open(instance.text, p), choices) for p in instance.answers]

    def _open(self, query: str, passage: str) -> str:
        return f"Passage: {passage}\nQuery: {query}\nDoes the passage answer the query?\nAnswer:"


def label_question(question: Question, labels: Sequence[str]) -> Question:
    """The same open text, asking how likely each label is instead of having it written."""
    return Question(question.text, tuple(f" {label}" for label in labels))


def _preamble(instructions: str) -> str:
    return f"{instructions}\n\n" if instructions else ""
