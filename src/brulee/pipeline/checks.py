"""Checks of a recipe against what it names, and notes on what will not be as one may expect.

Cheap checks come first in `prepare`: names before data, data before the model.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from brulee.data.corpus import Corpus
from brulee.data.encoding import Encoder
from brulee.errors import InputError, unknown
from brulee.evaluation.guards import Guard, open_guards
from brulee.evaluation.suites import SUITES
from brulee.methods import Method
from brulee.methods.alongside import Alongside
from brulee.methods.continuing import StartAdapter
from brulee.models import languages
from brulee.models.configuration import model_name
from brulee.models.context import context_length
from brulee.models.loading import Base
from brulee.models.precision import pick_device
from brulee.models.rope_scaling import told_of
from brulee.models.skeleton import held_as
from brulee.models.stack_configs import stack_configs
from brulee.pipeline.task_metrics import check_metrics
from brulee.progress import note
from brulee.recipe import Recipe
from brulee.training.documents import course
from brulee.training.selection import idle_patience
from brulee.training.trackers import check_trackers
from brulee.training.world import SHARDS


def check_named(recipe: Recipe) -> dict[str, Guard]:
    """Check the names of metrics, guards and trackers, and open the guards, which it returns.

    Raises InputError for an unknown name. Reads no data except that of the guards.
    """
    check_metrics(recipe)
    guards = _guards(recipe)
    check_trackers(recipe.train.trackers, recipe.source.at(("train", "trackers")))
    return guards


def device_of(recipe: Recipe) -> torch.device:
    """The device to train on. Raises InputError naming the line of an unavailable one."""
    try:
        return pick_device(recipe.train.device)
    except InputError as error:
        raise InputError(f"{recipe.source.at(('train', 'device'))}: {error}") from None


def check_trainable(recipe: Recipe, method: Method, held: str | None) -> None:
    """Refuse to train weights that are `held` in four bits, by the recipe or by their files."""
    if method.stores_model and held:
        at = ("model", "quantise") if recipe.base.quantise else ("model",)
        raise InputError(
            f"{recipe.source.at(at)}: method {method.name} trains the weights themselves, and a "
            "quantised base has none to train; use lora or another adapter."
        )


def check_sharded(recipe: Recipe, method: Method) -> None:
    """Refuse to shard a base for which, or for whose method, a process needs all weights."""
    held = held_as(model_name(recipe), recipe.base.quantise, recipe.base.revision)
    if (why := unshardable(method, held)) is not None:
        raise InputError(f"method {method.name}: {why}; start without {SHARDS}.")


def unshardable(method: Method, held: str | None) -> str | None:
    """Why a base, `held` in four bits or not, cannot be sharded under this method, if so."""
    if held:
        return f"weights in {held} are not sharded"
    if not (method.stores_model or method.beside()):
        return "it writes into the base's weights, which cannot be sharded then"
    return None


def check_validation(recipe: Recipe, corpus: Corpus) -> None:
    """Refuse what is decided by validation rows if there are none."""
    train = recipe.train
    asked = {
        "keep_best": train.keep_best,
        "patience": train.patience,
        "generate_every": train.generate_every,
    }
    if train.generate_every and all(corpus.tasks[path].plain for path in corpus.trained):
        raise InputError(
            f"{recipe.source.at(('train', 'generate_every'))}: train.generate_every completes "
            "prompts, and plain text has none; the validation loss is measured without it."
        )
    if any(corpus.tasks[path].validation for path in corpus.trained):
        return
    for key in (key for key, value in asked.items() if value):
        raise InputError(
            f"{recipe.source.at(('train', key))}: train.{key} needs validation rows, and there are "
            "none; set data.split.validation, for instance to 0.1."
        )


def check_context(recipe: Recipe, model: PreTrainedModel) -> None:
    """Refuse documents or answers longer than the model can read."""
    context = context_length(model)
    turned = any(getattr(stack, "rope_parameters", None) for stack in stack_configs(model.config))
    more = "; model.rope_scaling takes it further" if turned else ""
    asked = {
        ("train", "max_length"): recipe.train.max_length,
        ("evaluate", "generation", "max_new_tokens"): recipe.evaluate.generation.max_new_tokens,
    }
    for path, tokens in asked.items():
        if context is not None and tokens > context:
            raise InputError(
                f"{recipe.source.at(path)}: {'.'.join(path)} = {tokens} is more than the {context} "
                f"tokens that this model can read{more}."
            )


def check_fits(
    method: Method, alongside: Alongside, base: Base, start: StartAdapter | None
) -> None:
    """Refuse targets and layers that the model lacks, before scoring it or writing anything.

    So is an adapter to start from that is another base's. Skipped if attaching takes long or twice
    the memory; then only training finds them.
    """
    if start:
        start.attach(base).detach()
        return
    if method.documents() or method.stores_model or method.options().get("init") == "pissa":
        return
    alongside.attach(method, base.model).detach()


def say_of_start(start: StartAdapter, base: Base, encoder: Encoder) -> None:
    """Note how the adapter to start from was trained otherwise."""
    record = start.adapter.record
    if record.get("framing_digest", encoder.digest) != encoder.digest:
        note(
            f"{start.at}: {start.name} was trained with prompts framed otherwise (chat template, "
            "system message or tokenizer); all scores are of prompts as this recipe frames them."
        )
    if record and start.adapter.quantised != base.quantised:
        held, now = (how or "full precision" for how in (start.adapter.quantised, base.quantised))
        note(f"{start.at}: {start.name} was trained on this base in {held}, and goes on in {now}.")
    if record and start.adapter.rope_scaling != base.rope_scaling:
        were, are = (told_of(one) for one in (start.adapter.rope_scaling, base.rope_scaling))
        note(f"{start.at}: {start.name} was trained with rotary positions {were}; now: {are}.")
    if record and start.adapter.languages != base.languages:
        were, are = (languages.told_of(one) for one in (start.adapter.languages, base.languages))
        note(f"{start.at}: {start.name} was trained to translate {were}; now: {are}.")


def warn_of_patience(recipe: Recipe, count: int) -> None:
    """Note a patience that cannot stop a training on `count` documents an epoch."""
    train = recipe.train
    if train.patience is None:
        return
    planned = course(train, count)
    every = planned.interval(train.validate_every)
    idle = idle_patience(train.patience, planned.steps, every)
    if idle:
        note(f"{recipe.source.at(('train', 'patience'))}: {idle}")


def warn_of_steps(recipe: Recipe, count: int) -> None:
    """Note steps and a warm-up that `count` documents an epoch do not reach."""
    train = recipe.train
    planned = course(train, count).steps
    if train.max_steps is not None and planned < train.max_steps:
        at = recipe.source.at(("train", "max_steps"))
        epochs = f"train.epochs = {train.epochs:g}"
        note(
            f"{at}: train.max_steps = {train.max_steps} is not reached: {epochs} of {count} "
            f"documents end after {planned}; raise train.epochs for more."
        )
    if train.warmup >= planned:
        at = recipe.source.at(("train", "warmup"))
        note(
            f"{at}: train.warmup = {train.warmup:g} steps of {planned}: the learning rate never "
            "reaches its full value; below 1, warmup is a share of the steps."
        )


def _guards(recipe: Recipe) -> dict[str, Guard]:
    spec = recipe.evaluate
    folders = {name: recipe.source.resolve(folder) for name, folder in spec.data.items()}
    for name, folder in folders.items():
        at = recipe.source.at(("evaluate", "data", name))
        if name not in SUITES:
            raise unknown("suite", name, SUITES, at)
        if not folder.exists():
            raise InputError(
                f"{at}: {spec.data[name]}: no such folder; it should have the official files of "
                f"{name}."
            )
    where = recipe.source.at(("evaluate", "guards"))
    return open_guards(spec.guards, folders, spec.guard_limit, where)
