"""One model's answers to a task's test rows: generated texts and most likely choices.

The metrics decide which of the two are needed (`Metric.asks`); texts.py scores plain texts. Each
reply is appended to the task's file as it arrives (answers.py); if both are needed, an item's two
replies end up in one line.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from brulee.data.encoding import Encoded, Encoder
from brulee.data.task import Item
from brulee.data.written_calls import WrittenCalls
from brulee.errors import InputError
from brulee.evaluation.answers import (
    Answer,
    append,
    known_answers,
    likelihoods_of,
    score,
    with_likelihoods,
    worth,
)
from brulee.evaluation.base import Metric
from brulee.evaluation.bits import BitsPerByte
from brulee.evaluation.ranking import Ranked
from brulee.evaluation.texts import read_texts
from brulee.evaluation.unended import is_unended, tell_unended
from brulee.inference.engine import Engine, Likelihood
from brulee.inference.sampling import Sampling
from brulee.progress import bar

WAVE_TOKENS: Final = 1 << 18  # tokens of choices held at once: 10 MB, many rows that share a prefix
_SHOWN: Final = 40  # characters of a choice in a message


@dataclass(frozen=True)
class _Put:
    """Items to evaluate with a model; its replies go to `file`, under `task`."""

    engine: Engine
    encoder: Encoder
    items: Sequence[Item]
    task: str
    file: Path
    title: str


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
    """Every item's answer, in order; queries the model only for replies that `file` lacks.

    Raises InputError for an item without the choices that a ranked metric needs.
    """
    for metric in metrics:
        if isinstance(metric, BitsPerByte):
            return read_texts(engine, encoder, items, metric, task=task, file=file, title=title)
    put = _Put(engine, encoder, items, task, file, title)
    ranked = [metric for metric in metrics if isinstance(metric, Ranked)]
    written = [metric for metric in metrics if not isinstance(metric, Ranked)]
    chosen = _ranked_answers(put, ranked) if ranked else []
    if ranked and not written:
        return chosen
    texts = _written_answers(put, written, sampling)
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


def how_calls_are_written(encoder: Encoder, metrics: Sequence[Metric]) -> WrittenCalls | None:
    """The format in which a model writes tool calls; None if no metric needs it.

    Raises InputError if one does and the chat template has no format that can be parsed.
    """
    asking = [metric.keys[0] for metric in metrics if metric.against == "calls"]
    if not asking:
        return None
    if encoder.written_calls is None:
        raise InputError(
            f"metric {asking[0]} needs tool calls written as JSON, and the chat template of this "
            "model does not write them so; leave it out of the metrics, or use another model."
        )
    return encoder.written_calls


def _written_answers(put: _Put, metrics: Sequence[Metric], sampling: Sampling) -> list[Answer]:
    """The generated text for every item."""
    calls = how_calls_are_written(put.encoder, metrics)
    thinking = sampling.form is None
    prompts = [put.encoder.encode_question(item.asked, thinking) for item in put.items]
    requests = [_digest_of_prompt(prompt, sampling, at) for at, prompt in enumerate(prompts)]
    known = {answer.request: answer for answer in known_answers(put.file)}
    open_at = [at for at, request in enumerate(requests) if request not in known]
    put.file.parent.mkdir(parents=True, exist_ok=True)
    with (
        bar(put.title, total=len(put.items), unit="items") as progress,
        put.file.open("a", encoding="utf-8") as out,
    ):
        progress.known(len(put.items) - len(open_at))

        def done(i: int, ids: list[int]) -> None:
            at = open_at[i]
            thoughts, output = put.encoder.parted(ids, thinking)
            item, request = put.items[at], requests[at]
            answer = score(item, output, len(ids), metrics, put.task, request, calls)
            answer = replace(answer, thoughts=thoughts)
            known[answer.request] = answer
            append(out, answer)
            progress.advance()

        # Seeded by their indices among all items, so that resuming draws the same samples.
        put.engine.generate([prompts[at] for at in open_at], sampling, done, open_at)
    replies = [known[request] for request in requests]
    unended = sum(map(is_unended, replies))
    tell_unended(put.title, unended, len(replies), sampling.max_new_tokens, put.encoder)
    # Keeps the item's other replies, so that they need not be queried again.
    return [
        replace(
            score(item, r.output, r.tokens, metrics, put.task, r.request, calls),
            reply=r.reply,
            thoughts=r.thoughts,
        )
        for item, r in zip(put.items, replies, strict=True)
    ]


def _ranked_answers(put: _Put, metrics: Sequence[Ranked]) -> list[Answer]:
    """The most likely choice for every item; all likelihoods are in `reply`.

    Tokenises choices in waves, so that those of all items are never in memory at once.
    """
    for item in put.items:
        _check_choices(item, put.task, metrics[0])
    known = {
        a.reply["ranked"]: likelihoods_of(a) for a in known_answers(put.file) if "ranked" in a.reply
    }
    digests: list[str] = []
    put.file.parent.mkdir(parents=True, exist_ok=True)
    with (
        bar(f"{put.title}, choices", total=len(put.items), unit="items") as progress,
        put.file.open("a", encoding="utf-8") as out,
    ):

        def done(at: int, likelihoods: list[Likelihood]) -> None:
            known[digests[at]] = likelihoods
            append(out, _chosen(put.items[at], likelihoods, metrics, put.task, digests[at]))
            progress.advance()

        wave: dict[int, list[Encoded]] = {}
        held = before = 0
        for at, item in enumerate(put.items):
            requests = _requests(put, item)
            digests.append(_digest_of_choices(requests))
            if digests[at] in known:
                before += 1
                continue
            wave[at] = requests
            held += sum(len(one.ids) for one in requests)
            if held >= WAVE_TOKENS:
                progress.known(before)
                _rank(put.engine, wave, done)
                wave, held, before = {}, 0, 0
        progress.known(before)
        _rank(put.engine, wave, done)
    return [
        _chosen(item, known[digest], metrics, put.task, digest)
        for item, digest in zip(put.items, digests, strict=True)
    ]


def _rank(
    engine: Engine,
    wave: Mapping[int, Sequence[Encoded]],
    done: Callable[[int, list[Likelihood]], None],
) -> None:
    """Score every choice of some items; an item is done when its last choice is scored."""
    owners = [(at, k) for at, requests in wave.items() for k in range(len(requests))]
    found: dict[int, dict[int, Likelihood]] = {at: {} for at in wave}

    def note(i: int, likelihood: Likelihood) -> None:
        at, k = owners[i]
        found[at][k] = likelihood
        if len(found[at]) == len(wave[at]):
            done(at, [found[at][j] for j in range(len(wave[at]))])

    engine.loglikelihood([wave[at][k] for at, k in owners], note)


def _check_choices(item: Item, task: str, metric: Ranked) -> None:
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


def _requests(put: _Put, item: Item) -> list[Encoded]:
    """Every choice as the complete answer to an item, including its end token."""
    choices = item.asked.choices or ()
    asked = [replace(item.asked, completion=choice) for choice in choices]
    documents = put.encoder.encode_all(asked)
    for document, choice in zip(documents, choices, strict=True):
        shown = choice if len(choice) <= _SHOWN else f"{choice[:_SHOWN]}..."
        put.engine.check_document(document, f"{put.task}, row {item.id}: choice {shown!r}, a text")
    return [
        Encoded.ending((*one.prompt, *one.completion), len(one.completion)) for one in documents
    ]


def _digest_of_prompt(prompt: Sequence[int], sampling: Sampling, place: int) -> str:
    """Identifies a request: equal digests have equal replies."""
    drawn = place if sampling.temperature else None
    found = hashlib.sha256(repr((sampling, drawn)).encode())
    if sampling.form is not None:
        found.update(sampling.form.schema.encode())
    if sampling.further:
        found.update(repr(sampling.further).encode())
    found.update(array("q", prompt).tobytes())
    return found.hexdigest()[:32]


def _digest_of_choices(requests: Sequence[Encoded]) -> str:
    """Identifies a request: equal digests have equal replies."""
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
        sum(f.tokens for f in likelihoods), request, item.group, kept, item.phrasing,
        place=item.place,
    )  # fmt: skip
