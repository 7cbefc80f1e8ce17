"""What a run needs, loaded and checked before the first forward pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from brulee.data.encoding import Encoder
from brulee.data.task import Task, check_lengths, open_task
from brulee.errors import InputError, unknown
from brulee.evaluation import LABELLED, metric
from brulee.evaluation.base import Metric
from brulee.evaluation.guards import GUARDS
from brulee.methods import Method, build_method
from brulee.models.context import context_length
from brulee.models.loading import Base, load_base
from brulee.models.precision import pick_device, pick_dtype
from brulee.pipeline.folder import RunFolder
from brulee.progress import note
from brulee.recipe import Recipe


@dataclass(frozen=True)
class Prepared:
    """Everything that is loaded and checked before the first forward pass."""

    where: RunFolder
    recipe: Recipe
    method: Method
    metrics: tuple[Metric, ...]
    task: Task
    base: Base
    encoder: Encoder
    train_rows: tuple[int, ...]
    cut_rows: int
    autocast: bool


def prepare(where: RunFolder) -> Prepared:
    """Check names, rows and lengths, then load the model: the cheap refusals come first."""
    recipe = where.recipe
    method = build_method(recipe.method, recipe.source)
    _check_names(recipe)
    device = pick_device(recipe.train.device)
    # What was timed when the run began is kept: one run has one precision.
    precision = where.manifest().get("precision", recipe.train.precision)
    dtype = pick_dtype(precision, device)
    task = open_task(recipe.data, recipe.source)
    metrics = _metrics(recipe.evaluate.metrics, recipe, task.labels)
    # Trained weights keep fp32 precision; what is frozen can be held in bf16.
    held = torch.float32 if method.stores_model else dtype
    base = load_base(recipe.base.name, held, device, recipe.base.revision, recipe.source.resolve)
    _check_context(recipe, context_length(base.model))
    encoder = Encoder(
        base.tokenizer,
        kind=base.kind,
        chat_template=recipe.base.chat_template,
        system=recipe.data.system,
        max_length=recipe.train.max_length,
    )
    train_rows, cut = check_lengths(task, encoder, task.train)
    autocast = method.stores_model and dtype == torch.bfloat16
    prepared = Prepared(
        where, recipe, method, metrics, task, base, encoder, train_rows, cut, autocast
    )
    _record(prepared, dtype)
    return prepared


def _check_names(recipe: Recipe) -> None:
    # Metrics of labels are made when the rows have shown which labels there are.
    _metrics([name for name in recipe.evaluate.metrics if name not in LABELLED], recipe)
    for guard in recipe.evaluate.guards:
        if guard not in GUARDS:
            raise unknown("guard", guard, GUARDS, recipe.source.at(("evaluate", "guards")))


def _check_context(recipe: Recipe, context: int | None) -> None:
    asked = {
        ("train", "max_length"): recipe.train.max_length,
        ("evaluate", "generation", "max_new_tokens"): recipe.evaluate.generation.max_new_tokens,
    }
    for path, tokens in asked.items():
        if context is not None and tokens > context:
            raise InputError(
                f"{recipe.source.at(path)}: {'.'.join(path)} = {tokens} is more than the {context} "
                "tokens that this model can read."
            )


def _metrics(
    names: list[str], recipe: Recipe, labels: tuple[str, ...] | None = None
) -> tuple[Metric, ...]:
    try:
        return tuple(metric(name, labels) for name in names)
    except InputError as error:
        raise InputError(f"{recipe.source.at(('evaluate', 'metrics'))}: {error}") from None


def _record(prepared: Prepared, dtype: torch.dtype) -> None:
    """Begin the run: its recipe, split.json, and what the manifest says of data and model."""
    task, base = prepared.task, prepared.base
    too_long = len(task.train) - len(prepared.train_rows)
    used = {
        "train": len(prepared.train_rows),
        "validation": len(task.validation),
        "test": len(task.test),
    }
    left_out = {**task.dropped, "too long": too_long, "source text cut": prepared.cut_rows}
    split = {**task.splits.manifest(task.rows), "used": used, "rows": left_out}
    facts = {
        "base": {"name": base.name, "digest": base.digest},
        "framing": prepared.encoder.digest,
        "data": task.rows.digests,
        "templates": {task.templates.name: task.templates.digest},
        "seed": prepared.recipe.train.seed,
        "precision": str(dtype).removeprefix("torch."),
    }
    prepared.where.begin(facts, split)
    if any(left_out.values()):
        counts = ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count)
        note(f"Of {len(task.rows)} rows: {counts}.")
