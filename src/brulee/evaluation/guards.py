"""Guards: small bundled tests of what a run is not meant to change, measured before and after.

    common-knowledge   160 questions with four answers each; accuracy by likelihood
    plain-prose        60 paragraphs of ordinary English; bits per byte, lower is better

Adding one is a class here or in a file beside, and a line in GUARDS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from brulee.data.encoding import Encoded, Encoder
from brulee.data.sources import open_source
from brulee.data.templates import load_templates
from brulee.evaluation.answers import Answer, append, read_answers
from brulee.evaluation.base import Array
from brulee.inference.engine import Engine, Likelihood
from brulee.progress import bar


@dataclass(frozen=True)
class Question:
    """One guard item: alternatives to be scored, and how their likelihoods become statistics."""

    id: str
    prompt: str
    options: tuple[str, ...]
    right: int
    requests: tuple[Encoded, ...]


class Guard(Protocol):
    """What a guard gives: a metric's name and direction, its items, and their statistics."""

    @property
    def metric(self) -> str:
        """The name of its score."""

    @property
    def higher_is_better(self) -> bool:
        """Whether more of it is better."""

    def questions(self, encoder: Encoder, limit: int | None) -> list[Question]:
        """The items, encoded for a model."""

    def judge(self, question: Question, found: Sequence[Likelihood]) -> tuple[str, list[float]]:
        """The model's answer in words, and the item's statistics (S,)."""

    def reduce(self, mean_S: Array, items: float | Array) -> Array:
        """The score of mean statistics (..., S): (...)."""


class MultipleChoice:
    """Accuracy of the likeliest answer, log-probabilities divided by the answer's bytes."""

    metric: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True

    def __init__(self, source: str, template: str) -> None:
        self.source, self.template = source, template

    def questions(self, encoder: Encoder, limit: int | None) -> list[Question]:
        """One request an answer; they share their prompt."""
        rows = open_source(self.source, limit=limit)
        (template,) = load_templates(self.template).templates
        questions = []
        for i, row in enumerate(rows):
            rendered = template.render(row)
            assert rendered is not None, "bundled rows all render"
            assert rendered.choices is not None, "a multiple-choice template lists its choices"
            right = rendered.choices.index(rendered.completion)
            requests = tuple(encoder.encode(rendered.prompt, c) for c in rendered.choices)
            questions.append(Question(str(i), rendered.prompt, rendered.choices, right, requests))
        return questions

    def judge(self, question: Question, found: Sequence[Likelihood]) -> tuple[str, list[float]]:
        """1 for the right answer, 0 for another."""
        bytes_ = [len(option.encode()) for option in question.options]
        scores = [f.log_probability / b for f, b in zip(found, bytes_, strict=True)]
        picked = int(np.argmax(scores))
        return question.options[picked], [float(picked == question.right)]

    def reduce(self, mean_S: Array, items: float | Array) -> Array:
        """The mean."""
        del items
        return np.asarray(mean_S)[..., 0]


class Prose:
    """Cross-entropy of plain text in bits per byte, which does not depend on the tokenizer."""

    metric: ClassVar[str] = "bits_per_byte"
    higher_is_better: ClassVar[bool] = False

    def __init__(self, source: str) -> None:
        self.source = source

    def questions(self, encoder: Encoder, limit: int | None) -> list[Question]:
        """One request a text, without any template; its first token is given."""
        rows = open_source(self.source, limit=limit)
        questions = []
        for i, row in enumerate(rows):
            ids = encoder.tokenizer(row["text"], add_special_tokens=False)["input_ids"]
            request = Encoded.ending((*encoder.prefix_ids, *ids), len(ids) - 1)
            questions.append(Question(str(i), "", (row["text"],), 0, (request,)))
        return questions

    def judge(self, question: Question, found: Sequence[Likelihood]) -> tuple[str, list[float]]:
        """Bits, and bytes."""
        bits = -found[0].log_probability / math.log(2)
        return question.options[0], [bits, float(len(question.options[0].encode()))]

    def reduce(self, mean_S: Array, items: float | Array) -> Array:
        """Mean bits over mean bytes."""
        del items
        mean = np.asarray(mean_S)
        return np.asarray(mean[..., 0] / mean[..., 1])


GUARDS: dict[str, Guard] = {
    "common-knowledge": MultipleChoice(
        "bundled/common-knowledge", "common-knowledge/question-only"
    ),
    "plain-prose": Prose("bundled/plain-prose"),
}


def measure(
    name: str, engine: Engine, encoder: Encoder, limit: int | None, file: Path, title: str
) -> list[Answer]:
    """One model's answers to a guard, in item order; those in `file` are not asked again."""
    guard = GUARDS[name]
    questions = guard.questions(encoder, limit)
    known = read_answers(file)
    open_questions = [q for q in questions if q.id not in known]
    owners = [(q, k) for q in open_questions for k in range(len(q.requests))]
    waiting = {q.id: [None] * len(q.requests) for q in open_questions}
    found: dict[str, list[Likelihood | None]] = {k: list(v) for k, v in waiting.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    with bar(title, total=len(questions), unit="items") as progress, file.open("a") as out:
        progress.advance(len(questions) - len(open_questions))

        def done(i: int, likelihood: Likelihood) -> None:
            question, k = owners[i]
            found[question.id][k] = likelihood
            whole = [f for f in found[question.id] if f is not None]
            if len(whole) == len(question.requests):
                known[question.id] = _answer(name, guard, question, whole)
                append(out, known[question.id])
                progress.advance()

        engine.loglikelihood([q.requests[k] for q, k in owners], done)
    return [known[q.id] for q in questions]


def _answer(name: str, guard: Guard, question: Question, found: Sequence[Likelihood]) -> Answer:
    output, statistics = guard.judge(question, found)
    value = float(guard.reduce(np.array(statistics), 1.0))
    tokens = sum(f.tokens for f in found)
    return Answer(
        question.id, name, question.prompt, output, (question.options[question.right],),
        {guard.metric: value}, {guard.metric: statistics}, tokens,
    )  # fmt: skip
