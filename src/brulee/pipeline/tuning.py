"""The middle of a run: attach the method, train, store the result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file, save_file

from brulee.data.encoded import with_prompts
from brulee.data.encoding import Encoded, Encoder
from brulee.data.lengths import fitting_rows
from brulee.data.task import Task
from brulee.methods import Attached
from brulee.models.disk import as_umask_says, disk_errors
from brulee.models.quantising import parameter_count
from brulee.models.whole_files import check_safetensors
from brulee.pipeline.experts_note import ExpertsNote
from brulee.pipeline.glimpses import glimpse
from brulee.pipeline.preparation import Prepared
from brulee.pipeline.storing import from_disk, result_folder, store
from brulee.pipeline.trained import Trained, Tuned, course_of, seal
from brulee.planning.micro_batch import fitting_tokens
from brulee.planning.shares import shares_of
from brulee.progress import note
from brulee.reporting.results import Cost
from brulee.training.documents import Document, Documents
from brulee.training.events import read_events
from brulee.training.passes import Passes
from brulee.training.recorder import OpenTrackers
from brulee.training.trackers import open_trackers
from brulee.training.trainer import Trainer

_CHOSEN = "chosen.safetensors"  # what a method derived from the untuned model


def tuned_model(prepared: Prepared, known: Trained | None) -> tuple[Prepared, Tuned]:
    """The run with the tuned model in memory; trains unless a training is `known`."""
    return (prepared, tune(prepared)) if known is None else from_disk(prepared, known)


class Watch(Protocol):
    """An observer of a training."""

    def begins(self, validation: Sequence[Encoded]) -> None:
        """Called before training begins or continues, with the validation documents."""

    def validated(self, step: int, loss: float) -> None:
        """Called after a validation; an exception ends the training."""


def tune(prepared: Prepared, watch: Watch | None = None, trainer: Trainer | None = None) -> Tuned:
    """Train from the newest checkpoint to the end, and store the adapter or the model.

    By `trainer`, if `trainer_of` has made one already.
    """
    total = parameter_count(prepared.base.model)
    trainer = trainer or trainer_of(prepared)
    if watch:
        watch.begins(trainer.validation)
        trainer.validated = watch.validated
    attached = trainer.attached
    trainable = attached.trainable()
    totals = trainer.train(prepared.where.resume_line)
    training = course_of(totals, read_events(trainer.events.path))
    size = store(prepared, attached, training)
    dtype = torch.bfloat16 if prepared.autocast else prepared.base.model.dtype
    cost = Cost(
        trainable_parameters=trainable,
        total_parameters=total,
        adapter_bytes=size,
        peak_memory_bytes=totals.peak_memory_bytes,
        train_seconds=totals.seconds,
        train_tokens=totals.tokens,
        tokens_per_second=totals.tokens_per_second,
        precision=str(dtype).removeprefix("torch."),
    )
    trained = Trained(training=training, cost=cost, files={})
    if prepared.world.writes:
        trained = seal(prepared.where, result_folder(prepared), training, cost)
    prepared.world.wait()
    return Tuned(attached, trained)


def trainer_of(prepared: Prepared) -> Trainer:
    """The training loop over the recipe's mixture, with the method attached."""
    with prepared.recipe.source.placing():
        return _trainer_of(prepared)


def _trainer_of(prepared: Prepared) -> Trainer:
    train, where, world = prepared.recipe.train, prepared.where, prepared.world
    experts = ExpertsNote(prepared.base.model)
    attached = attach(prepared, where.path / _CHOSEN)
    said = experts.sentence(prepared.method.name)
    if said and world.writes:
        note(said)
    encoder = prepared.encoder_for(attached)
    return Trainer(
        prepared.base,
        attached,
        documents(prepared, encoder),
        len(prepared.mixture),
        train,
        learning_rate=train.learning_rate or prepared.method.learning_rate,
        folder=where.path,
        validation=_validation(prepared, encoder),
        autocast=prepared.autocast,
        world=world,
        pass_tokens=_pass_tokens(prepared, attached),
        glimpse=glimpse(prepared, attached),
        trackers=_trackers(prepared) if world.writes else None,
    )


def _trackers(prepared: Prepared) -> OpenTrackers:
    recipe, path = prepared.recipe, prepared.where.path
    at = recipe.source.at(("train", "trackers"))
    return partial(open_trackers, recipe.train.trackers, path, recipe.to_dict(), at)


def _pass_tokens(prepared: Prepared, attached: Attached) -> int:
    micro_batch = prepared.recipe.train.micro_batch
    if micro_batch != "auto":
        return micro_batch
    world, model, trained = prepared.world, prepared.base.model, attached.parameters()
    if not world.shards:
        return fitting_tokens(model, trained, prepared.base.device)
    shares = shares_of(model, attached.replicated(), world.size)
    return fitting_tokens(model, trained, world.device, shares)


def attach(prepared: Prepared, chosen: Path | None = None) -> Attached:
    """Attach the method to the base.

    What it first derives from the untuned model is kept in the file `chosen`, since a resumed
    training must have the same.
    """
    method, base, world = prepared.method, prepared.base, prepared.world
    if prepared.start:
        return prepared.start.attach(base)
    if method.documents():
        if chosen is not None and chosen.is_file():
            check_safetensors(chosen)
            found = load_file(chosen)
        else:
            found = method.prepare(base.model, _losses(prepared))
            if chosen is not None and world.writes:
                aside = chosen.with_name(f".{chosen.name}.tmp")
                with disk_errors(chosen):
                    save_file(found, aside)
                aside.rename(chosen)
                as_umask_says(chosen.parent)
        # Always in the same order: checkpoints number the parameters.
        method.adopt(dict(sorted(found.items())))
    return prepared.alongside.attach(method, base.model, prepared.recipe.train.seed)


def documents(prepared: Prepared, encoder: Encoder) -> Documents:
    """The training documents by index."""
    tasks, mixture, spec = prepared.corpus.tasks, prepared.mixture, prepared.recipe.train
    before = len(encoder.prefix_ids)

    def document(i: int) -> Document:
        draw = mixture.sample(i)
        task = tasks[draw.part]
        key = f"{spec.seed}/{draw.epoch}/{draw.row}"
        encoded = task.draw(encoder, draw.row, draw.template, key)
        learned = with_prompts(encoded, spec.prompt_loss_weight, before)
        return Document(task.rows.place(draw.row), learned)

    return document


def _losses(prepared: Prepared) -> Iterator[torch.Tensor]:
    """The losses of the first training documents on the untuned model."""
    passes = Passes(prepared.base, most=1, autocast=prepared.autocast)
    document = documents(prepared, prepared.encoder)
    with passes.boundary():
        yield from passes.each(document(i).encoded for i in range(prepared.method.documents()))


def _validation(prepared: Prepared, encoder: Encoder) -> list[Encoded]:
    tasks = [prepared.corpus.tasks[path] for path in prepared.corpus.trained]
    return [encoded for task in tasks for encoded in _validation_of(task, encoder)]


def _validation_of(task: Task, encoder: Encoder) -> list[Encoded]:
    rows = fitting_rows(task, encoder, task.validation, "validation").rows
    encoded = (task.encode(encoder, row, 0, "") for row in rows)
    return [e for e in encoded if e is not None]
