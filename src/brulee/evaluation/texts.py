"""The likelihood of a task's test texts: plain texts without a prompt.

Each is encoded as in training, but without the end-of-text token, because bits are counted only for
the text itself. Each reply is appended to the task's file as it arrives (answers.py).
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Sequence
from pathlib import Path

from brulee.data.encoding import Encoded, Encoder
from brulee.data.task import Item
from brulee.errors import BruleeError
from brulee.evaluation.answers import (
    Answer,
    append,
    known_answers,
    likelihoods_of,
    with_likelihoods,
)
from brulee.evaluation.bits import BitsPerByte
from brulee.inference.engine import Engine, Likelihood
from brulee.progress import bar


def read_texts(
    engine: Engine,
    encoder: Encoder,
    items: Sequence[Item],
    metric: BitsPerByte,
    *,
    task: str,
    file: Path,
    title: str,
) -> list[Answer]:
    """The bits and bytes of every item, in order; scores only texts that `file` lacks."""
    requests = [_alone(encoder, item) for item in items]
    digests = [_digest(request) for request in requests]
    known = {a.request: found for a in known_answers(file) for found in likelihoods_of(a)}
    waiting = [at for at, digest in enumerate(digests) if digest not in known]
    file.parent.mkdir(parents=True, exist_ok=True)
    with (
        bar(title, total=len(items), unit="texts") as progress,
        file.open("a", encoding="utf-8") as out,
    ):
        progress.known(len(items) - len(waiting))

        def done(i: int, found: Likelihood) -> None:
            at = waiting[i]
            known[digests[at]] = found
            append(out, _answer(items[at], found, metric, task, digests[at]))
            progress.advance()

        engine.loglikelihood([requests[at] for at in waiting], done)
    return [
        _answer(item, known[digest], metric, task, digest)
        for item, digest in zip(items, digests, strict=True)
    ]


def _alone(encoder: Encoder, item: Item) -> Encoded:
    found = encoder.text_alone(item.asked)
    assert found is not None, "an item is made of a text with something to predict"
    return found


def _answer(item: Item, found: Likelihood, metric: BitsPerByte, task: str, request: str) -> Answer:
    (text,), (key,) = item.references, metric.keys
    values = metric.of(text, found.log_probability)
    if not math.isfinite(values[0]):
        raise BruleeError(f"{task}, item {item.id}: the model gave it {values[0]} bits.")
    scores = {key: values[0] / values[1]}
    kept = with_likelihoods([found])
    return Answer(
        item.id, task, "", "", item.references, scores, {key: values}, found.tokens, request,
        item.group, kept, place=item.place,
    )  # fmt: skip


def _digest(request: Encoded) -> str:
    """Identifies a request: equal digests have equal replies."""
    found = hashlib.sha256(b"text")
    found.update(array("q", [request.learned, *request.ids]).tobytes())
    return found.hexdigest()[:32]
