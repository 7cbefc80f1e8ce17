"""The three small tests that come with brulee, of what tuning is not meant to change.

common-knowledge    220 questions with four answers each; accuracy by likelihood
other-instructions  60 small requests, each with an answer; bits per byte of the answer
plain-prose         60 paragraphs of ordinary English; bits per byte
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, final

from brulee.data.sources import open_source
from brulee.data.templates import load_templates
from brulee.errors import InputError
from brulee.evaluation import bits
from brulee.evaluation.base import Array
from brulee.evaluation.suites.labels import likeliest
from brulee.evaluation.tasks import Example, Framing, Judged, Reply, Suite, SuiteTask
from brulee.recipe import Strict


class Options(Strict):
    """There is nothing to set."""


@final
class Bundled(Suite):
    """All three; they need no data folder and no Hub."""

    name = "bundled"
    summary = "the three bundled guards; needs no files"
    Options: ClassVar[type[Strict]] = Options

    def open(self, data: Path | None, options: Any) -> list[SuiteTask]:
        """The tasks. Raises InputError for a folder, since their data is in the package."""
        del options
        if data is not None:
            raise InputError(f"{data}: the suite bundled brings its own data; leave --data out.")
        return [CommonKnowledge(), OtherInstructions(), PlainProse()]


@final
class CommonKnowledge(SuiteTask):
    """Accuracy of the likeliest answer, log-probabilities divided by the answer's bytes.

    Asked as tuning asks, in the chat template, so that it also shows a lost format.
    """

    name = "common-knowledge"
    metrics = ("accuracy",)
    framing: Framing = "chat"

    def examples(self, limit: int | None = None) -> list[Example]:
        """One a question; its answers share the prompt."""
        (template,) = load_templates("common-knowledge/question-only").templates
        rows = open_source("bundled/common-knowledge", limit=limit)
        return [_question(i, row, template) for i, row in enumerate(rows)]

    def judge(self, example: Example, reply: Reply) -> Judged:
        """1 for the right answer, 0 for another."""
        picked = example.choices[likeliest(reply, [len(c.encode()) for c in example.choices])]
        return Judged(picked, {"accuracy": [float(picked in example.references)]})


_BITS = bits.BitsPerByte()


class BitsPerByte(SuiteTask):
    """Cross-entropy of each example's only choice, which does not depend on the tokenizer."""

    metrics = _BITS.keys

    def judge(self, example: Example, reply: Reply) -> Judged:
        """Bits, and bytes."""
        (text,) = example.choices
        return Judged(text, {self.metrics[0]: _BITS.of(text, reply.likelihoods[0].log_probability)})

    def reduce(self, key: str, mean_S: Array, items: float | Array) -> Array:
        """Mean bits over mean bytes."""
        return _BITS.reduce(key, mean_S, items)

    def higher_is_better(self, key: str) -> bool:
        """Fewer bits are better."""
        return _BITS.higher_is_better(key)


@final
class OtherInstructions(BitsPerByte):
    """Answers to requests of many kinds, asked in the chat template.

    A model that was taught one task, and does it whatever it is asked, finds them unlikely.
    """

    name = "other-instructions"
    framing: Framing = "chat"

    def examples(self, limit: int | None = None) -> list[Example]:
        """One a request."""
        rows = open_source("bundled/other-instructions", limit=limit)
        return [
            Example(
                id=str(i),
                question=row["instruction"],
                choices=(row["response"],),
                references=(row["response"],),
            )
            for i, row in enumerate(rows)
        ]


@final
class PlainProse(BitsPerByte):
    """Plain text, read without any template."""

    name = "plain-prose"

    def examples(self, limit: int | None = None) -> list[Example]:
        """One a text, read from its first token on."""
        rows = open_source("bundled/plain-prose", limit=limit)
        return [
            Example(id=str(i), question="", choices=(row["text"],), references=(row["text"],))
            for i, row in enumerate(rows)
        ]


def _question(number: int, row: Mapping[str, Any], template: Any) -> Example:
    rendered = template.render(row)
    assert rendered is not None, "bundled rows all render"
    return Example(
        id=str(number),
        question=rendered.prompt,
        choices=rendered.choices,
        references=(rendered.completion,),
    )
