"""One model's replies to a task of a suite, each appended to a file as it arrives.

A reply is looked up by the digest of its request (`Asked.digest`) and scored again every time; see
`brulee.evaluation.answers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brulee.data.encoding import Encoder
from brulee.data.thoughts import Thoughts
from brulee.evaluation.answers import (
    Answer,
    append,
    known_answers,
    likelihoods_of,
    with_likelihoods,
)
from brulee.evaluation.asking import Asked, ask
from brulee.evaluation.tasks import Example, Framing, Judged, Reply, SuiteTask
from brulee.evaluation.unended import tell_unended
from brulee.inference.completion import Completion, until
from brulee.inference.engine import Engine, Likelihood
from brulee.inference.sampling import Sampling
from brulee.progress import bar


@dataclass(frozen=True)
class Model:
    """A model as the runner sees it.

    `room` is the maximum number of tokens of a document; `framing` overrides the tasks' own.
    """

    engine: Engine
    encoder: Encoder
    room: int | None
    framing: Framing | None = None


def answer(
    task: SuiteTask, examples: Sequence[Example], model: Model, file: Path, title: str
) -> list[Answer]:
    """One model's answers to a task's examples, in their order; replies in `file` are reused."""
    framing = model.framing or task.framing
    asked = ask(examples, model.encoder, framing, task.generation, model.room)
    known = {line.request: reply_of(line) for line in known_answers(file)}
    waiting = [one for one in asked if one.digest not in known]
    file.parent.mkdir(parents=True, exist_ok=True)
    with (
        bar(title, total=len(asked), unit="items") as progress,
        file.open("a", encoding="utf-8") as out,
    ):
        progress.known(len(asked) - len(waiting))

        def done(one: Asked, reply: Reply) -> None:
            known[one.digest] = reply
            append(out, answered(task, one, reply, task.judge(one.example, reply)))
            progress.advance()

        _score_choices([one for one in waiting if one.requests], model, done)
        tags = model.encoder.thoughts if framing == "chat" else None
        _write_on([one for one in waiting if not one.requests], model, tags, done, title)
    return _judged(task, asked, [known[one.digest] for one in asked])


def answered(task: SuiteTask, one: Asked, reply: Reply, judged: Judged) -> Answer:
    """A scored reply as a line of a file."""
    scores = {
        key: float(task.reduce(key, np.array(values), 1.0))
        for key, values in judged.statistics.items()
    }
    likely = reply.likelihoods
    kept: dict[str, Any] = with_likelihoods(likely) if likely else {"text": reply.text}
    if one.example.shots:
        kept["shots"] = one.shots
    return Answer(
        one.example.id, task.name, one.example.question, judged.output, one.example.references,
        scores, judged.statistics, reply.tokens, one.digest, one.example.cluster, kept,
    )  # fmt: skip


def reply_of(line: Answer) -> Reply:
    """The reply that a line of a file was made from."""
    return Reply(tuple(likelihoods_of(line)), line.reply.get("text", ""), line.tokens)


def _judged(task: SuiteTask, asked: Sequence[Asked], replies: Sequence[Reply]) -> list[Answer]:
    examples = [one.example for one in asked]
    judged = [task.judge(example, reply) for example, reply in zip(examples, replies, strict=True)]
    joined = task.join(examples, judged)
    return [answered(task, *parts) for parts in zip(asked, replies, joined, strict=True)]


def _score_choices(
    waiting: Sequence[Asked], model: Model, done: Callable[[Asked, Reply], None]
) -> None:
    """Score the likelihood of every choice; an item is done when its last choice is scored."""
    if not waiting:
        return
    owners = [(one, k) for one in waiting for k in range(len(one.requests))]
    found: list[dict[int, Likelihood]] = [{} for _ in waiting]
    position = {id(one): i for i, one in enumerate(waiting)}

    def note(i: int, likelihood: Likelihood) -> None:
        one, k = owners[i]
        of_item = found[position[id(one)]]
        of_item[k] = likelihood
        if len(of_item) == len(one.requests):
            likelihoods = tuple(of_item[k] for k in range(len(one.requests)))
            done(one, Reply(likelihoods, tokens=sum(f.tokens for f in likelihoods)))

    model.engine.loglikelihood([one.requests[k] for one, k in owners], note)


def _write_on(
    waiting: Sequence[Asked],
    model: Model,
    tags: Thoughts | None,
    done: Callable[[Asked, Reply], None],
    title: str,
) -> None:
    """Generate a continuation of every prompt, up to the first stop string.

    For a model that reasons between `tags`, stop strings apply only to the answer after them.
    """
    if not waiting:
        return
    generation = waiting[0].generation
    assert generation is not None, "ask() saw that there is one"

    unended = 0

    def hear(i: int, written: Completion) -> None:
        nonlocal unended
        text = written.text.strip() if generation.stripped or tags else written.text
        if tags is not None:
            unended += tags.starts(text) and tags.closing not in text
            text = until(tags.divided(text)[1], generation.stop).strip()
        done(waiting[i], Reply(text=text, tokens=written.tokens))

    sampling = Sampling(generation.max_new_tokens, stop=() if tags else generation.stop)
    model.engine.complete([w.prompt for w in waiting], sampling, hear)
    most = generation.max_new_tokens
    tell_unended(title, unended, len(waiting), most, model.encoder)
