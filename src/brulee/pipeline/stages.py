"""The stages of a run: score, tune, write up; each skips what is already done."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from brulee.data.encoding import Encoded, Encoder
from brulee.data.mixture import Mixture
from brulee.data.task import check_lengths
from brulee.evaluation.answers import Answer, generate_answers
from brulee.evaluation.guards import measure
from brulee.inference.sampling import Sampling
from brulee.inference.session import open_engine
from brulee.methods import Attached
from brulee.methods.checkpoint import save_adapter, write_record
from brulee.models.context import context_length
from brulee.models.disk import disk_errors
from brulee.pipeline.card import model_card
from brulee.pipeline.preparation import Prepared
from brulee.pipeline.summary import Scored, Tuned, summarise
from brulee.reporting import html, results
from brulee.training.trainer import Document, Trainer


def score(prepared: Prepared, who: str, tuned: Tuned | None = None) -> Scored:
    """One model's answers on the test rows and the guards, from files where they are there."""
    spec, task = prepared.recipe.evaluate, prepared.task
    attached = tuned.attached if tuned else None
    encoder = prepared.encoder.with_prefix(attached.prefix_ids if attached else ())
    engine = open_engine(prepared.base, encoder, spec.batch_tokens)
    started = time.perf_counter()
    whose = {"base": "Base", "tuned": "Tuned"}[who]
    answers: dict[str, list[Answer]] = {}
    context = context_length(prepared.base.model)
    room = None if context is None else context - spec.generation.max_new_tokens
    items = [task.item(row, encoder, room) for row in task.test[: spec.limit]]
    name = f"{task.name}/test"
    if items:
        answers[name] = generate_answers(
            engine,
            encoder,
            items,
            prepared.metrics,
            Sampling(spec.generation.max_new_tokens, spec.generation.temperature),
            task=name,
            file=prepared.where.answers(who, name),
            title=f"{whose} model: {task.name}",
        )
    guards = {
        guard: measure(
            guard,
            engine,
            encoder,
            spec.guard_limit,
            prepared.where.answers(who, guard),
            f"{whose} model: {guard}",
        )
        for guard in spec.guards
    }
    return Scored(answers, guards, time.perf_counter() - started)


def tune(prepared: Prepared) -> Tuned:
    """Train from the newest checkpoint to the end, and store the adapter or the model."""
    recipe, task, base, method = prepared.recipe, prepared.task, prepared.base, prepared.method
    total = sum(p.numel() for p in base.model.parameters())
    attached = method.attach(base.model, recipe.train.seed)
    encoder = prepared.encoder.with_prefix(attached.prefix_ids)
    mixture = Mixture(prepared.train_rows, len(task.templates), recipe.train.seed)

    def document(i: int) -> Document:
        sample = mixture.sample(i)
        key = f"{recipe.train.seed}/{sample.epoch}/{sample.row}"
        encoded = task.encode_nearest(encoder, sample.row, sample.template, key)
        return Document(task.rows.place(sample.row), encoded)

    trainer = Trainer(
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
    totals = trainer.train(prepared.where.resume_line)
    size = _store(prepared, attached)
    return Tuned(attached, totals, attached.trainable(), total, size)


def write_up(prepared: Prepared, tuned: Tuned, before: Scored, after: Scored) -> None:
    """results.json, the model card with its scores, report.html."""
    found = summarise(prepared, tuned, before, after)
    results.write(found, prepared.where.path)
    card = prepared.where.path / "adapter" / "README.md"
    if card.is_file():
        card.write_text(model_card(prepared, found), encoding="utf-8")
    html.write_report(prepared.where.path)


def _validation(prepared: Prepared, encoder: Encoder) -> list[Encoded]:
    task = prepared.task
    rows, _ = check_lengths(task, encoder, task.validation, "validation")
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
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _made_by(prepared: Prepared) -> dict[str, Any]:
    """What brulee.json says of the method, and of how prompts must be framed for the result."""
    return {
        "method": {"name": prepared.method.name, **prepared.method.options()},
        "chat_template": prepared.recipe.base.chat_template,
        "framing_digest": prepared.encoder.digest,
        "system": prepared.recipe.data.system,
    }
