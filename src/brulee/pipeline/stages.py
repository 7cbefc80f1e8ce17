"""The first and last stages of a run: scoring, which skips finished work, and the write-up."""

from __future__ import annotations

import itertools
import time

from brulee.data.encoding import Encoder
from brulee.data.task import Item
from brulee.data.template import Template
from brulee.errors import InputError
from brulee.evaluation.answering import answer_items
from brulee.evaluation.answers import Answer, keep_just
from brulee.evaluation.scripts import unread
from brulee.evaluation.suite_run import Model, answer
from brulee.inference.session import open_engine
from brulee.methods import Attached
from brulee.methods.adapter_files import CARD
from brulee.models.context import context_length
from brulee.pipeline.asked import Asked
from brulee.pipeline.card import model_card
from brulee.pipeline.generating import sampling_of, tell_own_way
from brulee.pipeline.preparation import Prepared
from brulee.pipeline.summary import Scored, summarise
from brulee.pipeline.trained import Tuned
from brulee.progress import note
from brulee.reporting import html, results


def score_before(prepared: Prepared) -> Scored:
    """The answers of the model that training starts from: the base, or the base with an adapter."""
    if prepared.start is None:
        return score(prepared, "base")
    attached = prepared.start.attach(prepared.base)
    try:
        return score(prepared, "base", attached)
    finally:
        attached.detach()


def score(prepared: Prepared, who: str, attached: Attached | None = None) -> Scored:
    """One model's answers on test rows and guards, read from files if they exist."""
    started = time.perf_counter()
    try:
        answers, guards = _answers(prepared, who, attached)
    finally:
        seconds = prepared.where.add_seconds(who, time.perf_counter() - started)
    prepared.where.set_aside_answers(who, [*answers, *guards])
    return Scored(answers, guards, seconds)


def _answers(
    prepared: Prepared, who: str, attached: Attached | None
) -> tuple[dict[str, list[Answer]], dict[str, list[Answer]]]:
    """A model's answers by task, and by guard."""
    spec = prepared.recipe.evaluate
    encoder = prepared.encoder_for(attached) if attached else prepared.encoder
    engine = open_engine(prepared.base, encoder, spec.batch_tokens, attached)
    before = prepared.start.name if prepared.start else "Base model"
    whose = {"base": before, "tuned": "Tuned model"}[who]
    context = context_length(prepared.base.model)
    reserved = attached.reserved if attached else 0
    room = None if context is None else context - reserved - spec.generation.max_new_tokens
    sampling = sampling_of(prepared.recipe, prepared.base.tokenizer)
    wordings = [wording for asked in prepared.asked for wording in asked.wordings]
    if who == "base" and any(m.asks == "text" for one in wordings for m in one.metrics):
        tell_own_way(prepared.base, sampling)
    answers: dict[str, list[Answer]] = {}
    for asked in prepared.asked:
        file = prepared.where.answers(who, asked.name)
        title = f"{whose}: {asked.name.removesuffix('/test')}"
        found: list[Answer] = []
        for number, wording in enumerate(asked.wordings, start=1):
            if not wording.metrics and prepared.corpus.tasks[asked.test.path].plain:
                continue  # nothing to score
            items = _items(prepared, asked, wording.template, encoder, room)
            if who == "base" and number == 1:
                _say_unread(asked, items)
            several = len(asked.wordings) > 1
            count = f", phrasing {number} of {len(asked.wordings)}" if several else ""
            found += answer_items(
                engine,
                encoder,
                items,
                wording.metrics,
                sampling,
                task=asked.name,
                file=file,
                title=title + count,
            )
        if found:
            answers[asked.name] = found
            keep_just(file, found)
    room = None if context is None else context - reserved
    model = Model(engine, encoder, room)
    guards = {
        name: _guard_answers(prepared, name, model, who, f"{whose}: {name}")
        for name in prepared.guards
    }
    return answers, guards


def _say_unread(asked: Asked, items: list[Item]) -> None:
    references = (text for item in items for text in item.references)
    if said := unread(asked.wordings[0].metrics, references):
        note(f"{asked.name}: {said}")


def _guard_answers(
    prepared: Prepared, name: str, model: Model, who: str, title: str
) -> list[Answer]:
    guard, file = prepared.guards[name], prepared.where.answers(who, name)
    found = answer(guard.task, guard.examples, model, file, title)
    if not any(guard.metric in one.statistics for one in found):
        raise InputError(f"guard {name}: no item of it has a published answer to score against.")
    keep_just(file, found)
    return found


def write_up(prepared: Prepared, tuned: Tuned, before: Scored, after: Scored) -> None:
    """Write results.json, the scores of the model card, and report.html."""
    found = summarise(prepared, tuned, before, after)
    results.write(found, prepared.where.path)
    for folder in ("adapter", "model"):
        card = prepared.where.path / folder / CARD
        if card.is_file():
            card.write_text(model_card(prepared, tuned.trained.training, found), encoding="utf-8")
    html.write_report(prepared.where.path)


def _items(
    prepared: Prepared,
    asked: Asked,
    template: Template | None,
    encoder: Encoder,
    room: int | None,
) -> list[Item]:
    """The first `asked.limit` items of a test, of rows that its templates apply to."""
    test = asked.test
    task = prepared.corpus.tasks[test.path]
    found = (task.item(row, encoder, room, template or test.template_of(row)) for row in asked.rows)
    items = (item for item in found if item is not None)
    return list(itertools.islice(items, asked.limit))
