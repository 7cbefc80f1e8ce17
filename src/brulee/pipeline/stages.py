"""The stages of a run: score, tune, write up; each skips what is already done."""

from __future__ import annotations

import copy
import itertools
import shutil
import time
from pathlib import Path
from typing import Any

from brulee.data.corpus import Test
from brulee.data.encoding import Encoded, Encoder
from brulee.data.lengths import fitting_rows
from brulee.data.task import Item, Task
from brulee.errors import InputError
from brulee.evaluation.answers import Answer, generate_answers, write_answers
from brulee.evaluation.suite_run import Model, answer
from brulee.inference.sampling import Sampling
from brulee.inference.session import open_engine
from brulee.methods import Attached
from brulee.methods.checkpoint import CARD, save_adapter, write_record
from brulee.models.context import context_length
from brulee.models.disk import disk_errors
from brulee.models.quantising import parameter_count
from brulee.pipeline.card import model_card
from brulee.pipeline.preparation import Prepared
from brulee.pipeline.summary import Scored, Tuned, summarise
from brulee.reporting import html, results
from brulee.training.documents import Document
from brulee.training.trainer import Trainer


def score(prepared: Prepared, who: str, tuned: Tuned | None = None) -> Scored:
    """One model's answers on the test rows and the guards, from files where they are there."""
    spec = prepared.recipe.evaluate
    attached = tuned.attached if tuned else None
    encoder = _encoder(prepared, attached) if attached else prepared.encoder
    engine = open_engine(prepared.base, encoder, spec.batch_tokens, attached)
    started = time.perf_counter()
    whose = {"base": "Base", "tuned": "Tuned"}[who]
    context = context_length(prepared.base.model)
    reserved = attached.reserved if attached else 0
    room = None if context is None else context - reserved - spec.generation.max_new_tokens
    answers: dict[str, list[Answer]] = {}
    for test in prepared.corpus.tests:
        items = _items(prepared, test, encoder, room)
        if not items:
            continue
        answers[test.name] = generate_answers(
            engine,
            encoder,
            items,
            prepared.metrics[test.path],
            Sampling(spec.generation.max_new_tokens, spec.generation.temperature),
            task=test.name,
            file=prepared.where.answers(who, test.name),
            title=f"{whose} model: {test.name.removesuffix('/test')}",
        )
    room = None if context is None else context - reserved
    model = Model(engine, encoder, room)
    guards = {
        name: _guard_answers(prepared, name, model, who, f"{whose} model: {name}")
        for name in prepared.guards
    }
    return Scored(answers, guards, time.perf_counter() - started)


def _guard_answers(
    prepared: Prepared, name: str, model: Model, who: str, title: str
) -> list[Answer]:
    guard, file = prepared.guards[name], prepared.where.answers(who, name)
    found = answer(guard.task, guard.examples, model, file, title)
    if not any(guard.metric in one.statistics for one in found):
        raise InputError(f"guard {name}: no item of it has a published answer to score against.")
    write_answers(file, found)
    return found


def tune(prepared: Prepared) -> Tuned:
    """Train from the newest checkpoint to the end, and store the adapter or the model."""
    total = parameter_count(prepared.base.model)
    trainer = trainer_of(prepared)
    attached = trainer.attached
    totals = trainer.train(prepared.where.resume_line)
    size = _store(prepared, attached)
    return Tuned(attached, totals, attached.trainable(), total, size)


def trainer_of(prepared: Prepared) -> Trainer:
    """The method on its model, and the loop over the recipe's mixture."""
    recipe, base, method = prepared.recipe, prepared.base, prepared.method
    attached = method.attach(base.model, recipe.train.seed)
    encoder = _encoder(prepared, attached)
    tasks, mixture = prepared.corpus.tasks, prepared.mixture

    def document(i: int) -> Document:
        draw = mixture.sample(i)
        task = tasks[draw.part]
        key = f"{recipe.train.seed}/{draw.epoch}/{draw.row}"
        encoded = task.draw(encoder, draw.row, draw.template, key)
        return Document(task.rows.place(draw.row), encoded)

    return Trainer(
        base,
        attached,
        document,
        len(mixture),
        recipe.train,
        learning_rate=recipe.train.learning_rate or method.learning_rate,
        folder=prepared.where.path,
        validation=_validation(prepared, encoder),
        autocast=prepared.autocast,
    )


def write_up(prepared: Prepared, tuned: Tuned, before: Scored, after: Scored) -> None:
    """results.json, the model card with its scores, report.html."""
    found = summarise(prepared, tuned, before, after)
    results.write(found, prepared.where.path)
    for folder in ("adapter", "model"):
        card = prepared.where.path / folder / CARD
        if card.is_file():
            card.write_text(model_card(prepared, found), encoding="utf-8")
    html.write_report(prepared.where.path)


def _encoder(prepared: Prepared, attached: Attached) -> Encoder:
    """Documents as a method needs them: its ids first, the positions it takes off their length."""
    encoder = copy.copy(prepared.encoder.with_prefix(attached.prefix_ids))
    encoder.max_length -= attached.reserved
    return encoder


def _items(prepared: Prepared, test: Test, encoder: Encoder, room: int | None) -> list[Item]:
    """The first rows of a test that its templates apply to, as many as are asked for."""
    task = prepared.corpus.tasks[test.path]
    found = (task.item(row, encoder, room, test.template_of(row)) for row in test.rows)
    items = (item for item in found if item is not None)
    return list(itertools.islice(items, prepared.recipe.evaluate.limit))


def _validation(prepared: Prepared, encoder: Encoder) -> list[Encoded]:
    tasks = [prepared.corpus.tasks[path] for path in prepared.corpus.trained]
    return [encoded for task in tasks for encoded in _validation_of(task, encoder)]


def _validation_of(task: Task, encoder: Encoder) -> list[Encoded]:
    rows = fitting_rows(task, encoder, task.validation, "validation").rows
    encoded = (task.encode(encoder, row, 0, "") for row in rows)
    return [e for e in encoded if e is not None]


def _store(prepared: Prepared, attached: Attached) -> int:
    """Write the adapter or the model under another name, then rename it; returns its bytes."""
    final = prepared.where.path / ("model" if prepared.method.stores_model else "adapter")
    aside = final.with_name(f".{final.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        with disk_errors(final):
            store = _store_model if prepared.method.stores_model else _store_adapter
            size = store(prepared, attached, aside)
        if final.exists():
            shutil.rmtree(final)
        aside.rename(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return size


def _store_adapter(prepared: Prepared, attached: Attached, folder: Path) -> int:
    source = prepared.recipe.base.name
    card = model_card(prepared, None)
    return save_adapter(folder, attached, prepared.base, source, card, _made_by(prepared))


def _store_model(prepared: Prepared, _attached: Attached, folder: Path) -> int:
    prepared.base.model.save_pretrained(folder)
    prepared.base.tokenizer.save_pretrained(folder)
    write_record(folder, prepared.base, prepared.recipe.base.name, _made_by(prepared))
    (folder / CARD).write_text(model_card(prepared, None), encoding="utf-8")
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _made_by(prepared: Prepared) -> dict[str, Any]:
    """What brulee.json says of the method, and of how prompts must be framed for the result."""
    return {
        "method": {"name": prepared.method.name, **prepared.method.options()},
        "chat_template": prepared.recipe.base.chat_template,
        "framing_digest": prepared.encoder.digest,
        "system": prepared.recipe.system,
    }
