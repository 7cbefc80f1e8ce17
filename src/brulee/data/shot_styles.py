"""Layouts of solved examples before a question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# A prompt that ends in one of these ("Summary:") needs no marker before the answer.
_CUES = (":", ">>", "=>", "->", " =")
_LEAST_RULE = 5


@dataclass(frozen=True)
class Shown:
    """What is laid out: solved (prompt, completion) pairs, then the prompt to be answered.

    `instruction` goes before them all. `unfinished`: every prompt ends inside a sentence that the
    completion finishes.
    """

    examples: Sequence[tuple[str, str]]
    prompt: str
    instruction: str = ""
    unfinished: bool = False

    @property
    def cued(self) -> bool:
        """Whether no prompt needs a marker before the answer."""
        prompts = (self.prompt, *(prompt for prompt, _ in self.examples))
        return self.unfinished or all(prompt.endswith(_CUES) for prompt in prompts)

    @property
    def texts(self) -> list[str]:
        """All the texts."""
        parts = [text for pair in self.examples for text in pair]
        return [self.instruction, *parts, self.prompt]


@dataclass(frozen=True)
class Style:
    """The markers around examples.

        opening
                          separator                    separator
        head question PROMPT answer COMPLETION   head question PROMPT answer

    `head` precedes every prompt; {n} in it is the prompt's number. If the prompts end with a cue,
    `question` and `answer` are left out and `joint` separates prompt and answer.
    """

    separator: str
    question: str
    answer: str
    joint: str = " "
    head: str = ""
    opening: str = ""

    def lay_out(self, shown: Shown) -> str:
        """Lay everything out as one prompt."""
        pairs = [*shown.examples, (shown.prompt, "")]
        blocks = [self._block(n, *pair, shown.cued) for n, pair in enumerate(pairs, start=1)]
        before = [text for text in (shown.instruction, self.opening) if text]
        return "\n\n".join([*before, self.separator.join(blocks).rstrip()])

    def is_clear(self, shown: Shown) -> bool:
        """Whether no text contains a marker of the style, so that boundaries are unambiguous."""
        labels = () if shown.cued else (self.question, self.answer)
        # Markers are stripped, as a text may start or end with white space as well.
        marks = [mark.strip() or mark for mark in (self.separator, *labels) if mark]
        return not any(mark in text for mark in marks for text in shown.texts)

    def _block(self, number: int, prompt: str, completion: str, cued: bool) -> str:
        head = self.head.format(n=number)
        if cued:
            return f"{head}{prompt}{self.joint}{completion}"
        return f"{head}{self.question}{prompt}{self.answer}{completion}"


# No separator may occur in its style's other markers, nor the answer marker in the question marker.
STYLES = {
    "blank-line": Style("\n\n", "", "\n"),
    "arrow": Style("\n", "", " -> "),
    "double-arrow": Style("\n\n", "", "\n=> ", joint="\n"),
    "q-a": Style("\n\n", "Q: ", "\nA: "),
    "question-answer": Style("\n\n\n", "Question: ", "\nAnswer: ", joint="\n"),
    "input-output": Style("\n---\n", "Input: ", "\nOutput: "),
    "input-output-lines": Style("\n\n\n", "Input:\n", "\nOutput:\n", joint="\n"),
    "numbered": Style("\n\n\n", "", "\n\nAnswer: ", head="{n}. "),
    "brackets": Style("\n\n\n", "", "\n[answer] ", head="({n}) "),
    "examples-numbered": Style("\n\n***\n\n", "", "\nSolution: ", joint="\n", head="Example {n}\n"),
    "exercises": Style(
        "\n\n\n",
        "",
        "\n\nWhat to write:\n",
        joint="\n",
        head="EXERCISE {n}\n",
        opening="All exercises but the last are solved.",
    ),
    "headings": Style("\n\n\n", "", "\n\n### Response\n", joint="\n", head="### Task {n}\n"),
    "hashes": Style("\n\n###\n\n", "", "\n\nResponse: ", joint="\n"),
    "dashes": Style("\n\n---\n\n", "Task: ", "\n\nReply: "),
    "equals": Style("\n=====\n", "Given: ", "\nResult: "),
    "tildes": Style("\n~~~\n", "", "\nIt should say:\n", opening="Go on as in the examples."),
    "stars": Style(
        "\n* * *\n", "", "\n>> ", opening="The examples show what an answer looks like."
    ),
    "asked-answered": Style("\n\n", "Asked: ", "\nAnswered: ", opening="Solved before:"),
}


def first_clear(styles: Iterable[Style], shown: Shown) -> Style:
    """The first style whose markers are in none of the texts, else one of rules longer than any."""
    for style in styles:
        if style.is_clear(shown):
            return style
    return _ruled(shown.texts)


def _ruled(texts: Sequence[str]) -> Style:
    length = _LEAST_RULE
    while any(sign * length in text for sign in "=-" for text in texts):
        length += 1
    return Style(f"\n{'=' * length}\n", "", f"\n{'-' * length}\n", joint="\n")
