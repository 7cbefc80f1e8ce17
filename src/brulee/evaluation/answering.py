"""One model's answers to a task's test rows: what it writes, which choice it finds likeliest.

Which of the two is asked is the metrics' to say (`Metric.asks`). Each reply is kept in the task's
file as soon as it is given (answers.py); where both are asked, an item's end up in one line.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from brulee.data.encoding import Encoded, Encoder
from brulee.data.task import Item
from brulee.errors import InputError
from brulee.evaluation.answers import (
    Answer,
    append,
    generate_answers,
    known_answers,
    likelihoods_of,
    with_likelihoods,
    worth,
)
from brulee.evaluation.base import Metric
from brulee.evaluation.ranking import Ranked
from brulee.inference.engine import Engine, Likelihood
from brulee.inference.sampling import Sampling
from brulee.progress import bar


def answer_items(
    engine: Engine,
    encoder: Encoder,
    items: Sequence[Item],
    metrics: Sequence[Metric],
    sampling: Sampling,
    *,
    task: str,
    file: Path,
    title: str,
) -> list[Answer]:
    """Every item's answer, in their order; what `file` holds no reply to is asked.

    Raises InputError for an item without the choices that a ranked metric needs.
    """
    ranked = [metric for metric in metrics if isinstance(metric, Ranked)]
    written = [metric for metric in metrics if not isinstance(metric, Ranked)]
    chosen = _ranked_answers(engine, encoder, items, ranked, task, file, title) if ranked else []
    if ranked and not written:
        return chosen
    texts = generate_answers(
        engine, encoder, items, written, sampling, task=task, file=file, title=title
    )
    if not ranked:
        return texts
    return [
        replace(
            text,
            scores=text.scores | choice.scores,
            statistics=text.statistics | choice.statistics,
            reply=choice.reply,
        )
        for text, choice in zip(texts, chosen, strict=True)
    ]


def _ranked_answers(
    engine: Engine,
    encoder: Encoder,
    items: Sequence[Item],
    metrics: Sequence[Ranked],
    task: str,
    file: Path,
    title: str,
) -> list[Answer]:
    """The likeliest choice of every item; all its likelihoods are in `reply`."""
    requests = [_requests(encoder, item, task, metrics[0]) for item in items]
    digests = [_digest(own) for own in requests]
    known = {
        a.reply["ranked"]: likelihoods_of(a) for a in known_answers(file) if "ranked" in a.reply
    }
    open_at = [at for at, digest in enumerate(digests) if digest not in known]
    owners = [(at, k) for at in open_at for k in range(len(requests[at]))]
    found: dict[int, dict[int, Likelihood]] = {at: {} for at in open_at}
    file.parent.mkdir(parents=True, exist_ok=True)
    with (
        bar(f"{title}, choices", total=len(items), unit="items") as progress,
        file.open("a", encoding="utf-8") as out,
    ):
        progress.advance(len(items) - len(open_at))

        def note(i: int, likelihood: Likelihood) -> None:
            at, k = owners[i]
            found[at][k] = likelihood
            if len(found[at]) == len(requests[at]):
                known[digests[at]] = [found[at][j] for j in range(len(requests[at]))]
                append(out, _chosen(items[at], known[digests[at]], metrics, task, digests[at]))
                progress.advance()

        engine.loglikelihood([requests[at][k] for at, k in owners], note)
    return [
        _chosen(item, known[digest], metrics, task, digest)
        for item, digest in zip(items, digests, strict=True)
    ]


def _requests(encoder: Encoder, item: Item, task: str, metric: Ranked) -> list[Encoded]:
    """Every choice as the whole answer to an item, with its end."""
    choices = item.asked.choices or ()
    if len(set(choices)) < 2:
        raise InputError(
            f"{task}, row {item.id}: {metric.keys[0]} compares answer choices, and the template "
            "gives this row fewer than two different ones; add answer_choices to it, or leave "
            f"{metric.keys[0]} out of the metrics."
        )
    if not any(reference.strip() in choices for reference in item.references):
        raise InputError(
            f"{task}, row {item.id}: {metric.keys[0]} compares answer choices, and the right "
            f"answer {item.references[0]!r} is none of them: {' ||| '.join(choices)}."
        )
    documents = [encoder.encode_rendered(replace(item.asked, completion=c)) for c in choices]
    return [
        Encoded.ending((*one.prompt, *one.completion), len(one.completion)) for one in documents
    ]


def _digest(requests: Sequence[Encoded]) -> str:
    """Identifies what a model is asked: the same digest has the same reply."""
    found = hashlib.sha256(b"choices")
    for one in requests:
        found.update(array("q", [len(one.ids), one.learned, *one.ids]).tobytes())
    return found.hexdigest()[:32]


def _chosen(
    item: Item,
    likelihoods: Sequence[Likelihood],
    metrics: Sequence[Ranked],
    task: str,
    request: str,
) -> Answer:
    choices = item.asked.choices or ()
    chosen = [metric.choose(choices, likelihoods) for metric in metrics]
    statistics, scores = worth(item, zip(metrics, chosen, strict=True))
    kept = {"ranked": request, "choices": list(choices), **with_likelihoods(likelihoods)}
    return Answer(
        item.id, task, item.prompt, chosen[0], item.references, scores, statistics,
        sum(f.tokens for f in likelihoods), request, item.group, kept,
    )  # fmt: skip
