"""Three small bundled tests of what tuning is not meant to change.

common-knowledge    220 questions with four choices each; accuracy by likelihood
other-instructions  60 short requests with a response each; bits per byte of the response
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
    """No options."""


@final
class Bundled(Suite):
    """The three bundled tasks; they need neither a data folder nor the Hub."""

    name = "bundled"
    summary = "the three bundled guards; needs no files"
    Options: ClassVar[type[Strict]] = Options

    def open(self, data: Path | None, options: Any) -> list[SuiteTask]:
        """The tasks. Raises InputError for a folder, because the package contains their data."""
        del options
        if data is not None:
            raise InputError(f"{data}: the suite bundled brings its own data; leave --data out.")
        return [CommonKnowledge(), OtherInstructions(), PlainProse()]


@final
class CommonKnowledge(SuiteTask):
    """Accuracy of the most likely answer, by log-probability per byte.

    Uses the chat template, as tuning does, so that it also detects a lost format.
    """

    name = "common-knowledge"
    metrics = ("accuracy",)
    framing: Framing = "chat"

    def examples(self, limit: int | None = None) -> list[Example]:
        """One example per question; its choices share the prompt."""
        (template,) = load_templates("common-knowledge/question-only").templates
        rows = open_source("bundled/common-knowledge", limit=limit)
        return [_question(i, row, template) for i, row in enumerate(rows)]

    def judge(self, example: Example, reply: Reply) -> Judged:
        """1 for the correct answer, else 0."""
        picked = example.choices[likeliest(reply, [len(c.encode()) for c in example.choices])]
        return Judged(picked, {"accuracy": [float(picked in example.references)]})


_BITS = bits.BitsPerByte()


class BitsPerByte(SuiteTask):
    """Bits per byte of each example's only choice, which do not depend on the tokenizer."""

    metrics = _BITS.keys

    def judge(self, example: Example, reply: Reply) -> Judged:
        """The choice's bits and bytes."""
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
    """Responses to requests of many kinds, in the chat template.

    They become unlikely for a model that now does its one tuned task for any request.
    """

    name = "other-instructions"
    framing: Framing = "chat"

    def examples(self, limit: int | None = None) -> list[Example]:
        """One example per request."""
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
        """One example per text, scored from its first token on."""
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
