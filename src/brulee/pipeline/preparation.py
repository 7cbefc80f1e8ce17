"""What a run needs, loaded and checked before the first forward pass."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import PreTrainedModel

from brulee.data.corpus import Corpus, Test, open_corpus
from brulee.data.encoded import check_prompt_loss
from brulee.data.encoding import Encoder
from brulee.data.instruction import instruction
from brulee.data.lengths import Fitting, fitting_rows
from brulee.data.mixture import Mixture
from brulee.data.pieces import divide
from brulee.data.thoughts import Thoughts, taught_by
from brulee.errors import InputError, unknown
from brulee.evaluation import LABELLED
from brulee.evaluation.answering import how_calls_are_written
from brulee.evaluation.base import Metric
from brulee.evaluation.guards import Guard, open_guards
from brulee.evaluation.suites import SUITES
from brulee.methods import Attached, Method, build_method
from brulee.methods.alongside import Alongside
from brulee.methods.continuing import Start, start_of
from brulee.methods.whole import check_whole
from brulee.models import languages
from brulee.models.added_tokens import asked
from brulee.models.chat_templates import by_recipe
from brulee.models.context import context_length
from brulee.models.loading import Base, load_base
from brulee.models.precision import pick_device, pick_dtype
from brulee.models.rope_scaling import told_of
from brulee.models.stack_configs import stack_configs
from brulee.models.tokenizers import encoder_of
from brulee.pipeline.asked import Asked, asked_of, given_names, metrics_of, names_of, of_pieces
from brulee.pipeline.folder import RunFolder
from brulee.pipeline.generating import sampling_of
from brulee.pipeline.new_tokens import alongside_of, say_of_tokens
from brulee.pipeline.record import record
from brulee.pipeline.reference_check import check_references
from brulee.progress import bar, note, silent, waiting
from brulee.recipe import Recipe
from brulee.training.documents import course
from brulee.training.noise import check_noise
from brulee.training.optim import check_optimizer
from brulee.training.selection import idle_patience
from brulee.training.trackers import check_trackers
from brulee.training.world import ALONE, World

_LOOKED_AT = 50  # rows of a task whose answers are searched for reasoning tags


@dataclass(frozen=True)
class Prepared:
    """Everything that is loaded and checked before the first forward pass.

    `metrics` are by task, for its first phrasing; `asked` are the tests to score; `fitting` is by
    trained task. Plain texts are in pieces. `method` is that of `start`, the adapter that training
    starts from, if there is one. `alongside` is what is trained besides.
    """

    where: RunFolder
    recipe: Recipe
    method: Method
    metrics: dict[str, tuple[Metric, ...]]
    asked: list[Asked]
    guards: dict[str, Guard]
    corpus: Corpus
    base: Base
    encoder: Encoder
    fitting: dict[str, Fitting]
    mixture: Mixture
    autocast: bool
    alongside: Alongside
    start: Start | None = None
    world: World = ALONE

    def encoder_for(self, attached: Attached) -> Encoder:
        """An encoder for a method, with its prefix ids first and its reserved positions free."""
        encoder = copy.copy(self.encoder.with_prefix(attached.prefix_ids))
        encoder.max_length -= attached.reserved
        return encoder


@waiting("Reading the data, loading the model")
def prepare(where: RunFolder, world: World = ALONE, begin: bool = True) -> Prepared:
    """Check names, rows and lengths, then load the model, so that cheap checks fail first.

    Nothing is written unless `begin` is true.
    """
    with where.recipe.source.placing():
        return _prepared(where, world, begin)


def _prepared(where: RunFolder, world: World, begin: bool) -> Prepared:
    recipe = where.recipe
    start = start_of(recipe)
    method = start.method if start else build_method(recipe.method, recipe.source)
    guards = check_named(recipe)
    _check_trainable(recipe, method, recipe.base.quantise)
    device = device_of(recipe)
    with recipe.source.placing():
        check_optimizer(recipe.train, device.type == "cuda")
    # The precision chosen when the run began is kept: one run has one precision.
    precision = where.manifest().get("precision", recipe.train.precision)
    dtype = world.same(pick_dtype(precision, device))
    corpus = open_corpus(recipe)
    _check_validation(recipe, corpus)
    metrics = task_metrics(recipe, corpus)
    asked = asked_of(recipe, corpus, metrics)
    check_references(corpus, asked)
    # Trained weights stay in fp32; frozen ones can be in bf16.
    base = _load(recipe, torch.float32 if method.stores_model else dtype, device)
    _check_trainable(recipe, method, base.quantised)
    alongside = alongside_of(recipe, base, method, start)
    encoder = _encoder(recipe, base).thinking(_taught(corpus))
    for own in metrics.values():
        how_calls_are_written(encoder, own)
    # A method's prefix takes room in every document; any ids will do to measure it.
    measured = encoder.with_prefix((0,) * method.virtual_tokens())
    corpus = divide(corpus, measured)
    asked = of_pieces(asked, corpus, recipe.evaluate.limit)
    with recipe.source.placing():
        fitting = _fitting(corpus, measured)
    first = corpus.tasks[corpus.trained[0]].templates.templates[0]
    method.instruct(base.tokenizer, instruction(first))
    if begin and not where.begun:
        _check_fits(method, alongside, base, start)
        if world.writes:
            say_of_tokens(recipe, base)
        if start and world.writes:
            _say_of_start(start, base, encoder)
    mixture = corpus.mixture({p: found.rows for p, found in fitting.items()}, recipe.train.seed)
    _warn_of_patience(recipe, len(mixture))
    _warn_of_steps(recipe, len(mixture))
    autocast = method.stores_model and dtype == torch.bfloat16
    prepared = Prepared(
        where, recipe, method, metrics, asked, guards,
        corpus, base, encoder, fitting, mixture, autocast, alongside, start, world,
    )  # fmt: skip
    world.wait()  # other processes read the folder before anything is written there
    if begin and world.writes:
        record(prepared, dtype)
    world.wait()
    return prepared


def _taught(corpus: Corpus) -> Thoughts | None:
    """The tags of the reasoning that a task's answers begin with, if any."""
    tasks = (corpus.tasks[path] for path in corpus.trained)
    for task in (one for one in tasks if not one.plain):
        first = task.templates.templates[0]
        shown = (task.references(row, first) for row in task.train[:_LOOKED_AT])
        found = taught_by([one[0].completion for one in shown if one is not None])
        if found is not None:
            return found
    return None


def _fitting(corpus: Corpus, encoder: Encoder) -> dict[str, Fitting]:
    """The rows of each trained task that fit."""
    rows = {path: corpus.tasks[path].train for path in corpus.trained}
    total = sum(map(len, rows.values()))
    # A single task draws its own bar.
    watched = bar("Measuring train rows", total, "rows") if len(rows) > 1 else silent()
    found = {}
    with watched as progress:
        for path, of_task in rows.items():
            found[path] = fitting_rows(corpus.tasks[path], encoder, of_task)
            progress.advance(len(of_task))
    return found


def device_of(recipe: Recipe) -> torch.device:
    """The device to train on. Raises InputError naming the line of an unavailable one."""
    try:
        return pick_device(recipe.train.device)
    except InputError as error:
        raise InputError(f"{recipe.source.at(('train', 'device'))}: {error}") from None


def check_named(recipe: Recipe) -> dict[str, Guard]:
    """Check the names of metrics, guards and trackers, and open the guards, which it returns.

    Raises InputError for an unknown name. Reads no data except that of the guards.
    """
    _check_metrics(recipe)
    guards = _guards(recipe)
    check_trackers(recipe.train.trackers, recipe.source.at(("train", "trackers")))
    return guards


def _load(recipe: Recipe, dtype: torch.dtype, device: torch.device) -> Base:
    """The base model. Raises InputError if it cannot be trained as the recipe says."""
    spec, resolve = recipe.base, recipe.source.resolve
    how: dict[str, Any] = {"quantise": spec.quantise, "rope_scaling": recipe.rope_scaling}
    how |= {"tokens": asked(spec), "languages": recipe.languages}
    base = load_base(spec.name, dtype, device, spec.revision, resolve, **how)
    base = replace(base, tokenizer=by_recipe(base.tokenizer, base.kind, recipe))
    check_whole(resolve(spec.name), base)
    _check_context(recipe, base.model)
    sampling_of(recipe, base.tokenizer)  # refuses a schema that cannot be enforced with its tokens
    check_noise(base.model, recipe.train.neftune_alpha)
    check_prompt_loss(base.kind, recipe.train.prompt_loss_weight)
    return base


def _encoder(recipe: Recipe, base: Base) -> Encoder:
    return encoder_of(base.tokenizer, base.kind, recipe)


def _check_fits(method: Method, alongside: Alongside, base: Base, start: Start | None) -> None:
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


def _say_of_start(start: Start, base: Base, encoder: Encoder) -> None:
    """Note how the adapter to start from was trained otherwise."""
    ours = start.adapter.ours
    if ours.get("framing_digest", encoder.digest) != encoder.digest:
        note(
            f"{start.at}: {start.name} was trained with prompts framed otherwise (chat template, "
            "system message or tokenizer); all scores are of prompts as this recipe frames them."
        )
    if ours and start.adapter.quantised != base.quantised:
        held, now = (how or "full precision" for how in (start.adapter.quantised, base.quantised))
        note(f"{start.at}: {start.name} was trained on this base in {held}, and goes on in {now}.")
    if ours and start.adapter.rope_scaling != base.rope_scaling:
        were, are = (told_of(one) for one in (start.adapter.rope_scaling, base.rope_scaling))
        note(f"{start.at}: {start.name} was trained with rotary positions {were}; now: {are}.")
    if ours and start.adapter.languages != base.languages:
        were, are = (languages.told_of(one) for one in (start.adapter.languages, base.languages))
        note(f"{start.at}: {start.name} was trained to translate {were}; now: {are}.")


def task_metrics(recipe: Recipe, corpus: Corpus) -> dict[str, tuple[Metric, ...]]:
    """The metrics of each task.

    Raises InputError for an unknown name, and for ranked choices if templates have none.
    """
    found = {}
    tests: dict[str, list[Test]] = {}
    for test in corpus.tests:
        tests.setdefault(test.path, []).append(test)
    for path, (path_at, spec) in zip(corpus.tasks, recipe.tasks, strict=True):
        names, where = names_of(recipe, corpus, path, path_at, spec)
        found[path] = metrics_of(names, where, corpus.tasks[path].labels)
        for key in (m.keys[0] for m in found[path] if m.asks == "choices"):
            _check_choices(tests.get(path, ()), path, key, where)
    return found


def _check_choices(tests: Iterable[Test], path: str, key: str, where: str) -> None:
    for test in tests:
        bare = next((t for t in test.templates if t.answer_choices is None), None)
        if bare is not None:
            raise InputError(
                f"{where}: {key} compares answer choices, and template {bare.name!r}, under which "
                f"{path} is scored, has none; add answer_choices to it, or give the task metrics "
                "of its own."
            )


def _check_metrics(recipe: Recipe) -> None:
    # Metrics of labels are built later, when the labels are known from the rows.
    for at, spec in recipe.tasks:
        own = spec.metrics is not None
        where = recipe.source.at((*at, "metrics") if own else ("evaluate", "metrics"))
        names = given_names(recipe, spec)
        metrics_of([name for name in names if name not in LABELLED], where)


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


def _check_trainable(recipe: Recipe, method: Method, held: str | None) -> None:
    """Refuse to train weights that are `held` in four bits, by the recipe or by their files."""
    if method.stores_model and held:
        at = ("model", "quantise") if recipe.base.quantise else ("model",)
        raise InputError(
            f"{recipe.source.at(at)}: method {method.name} trains the weights themselves, and a "
            "quantised base has none to train; use lora or another adapter."
        )


def _check_validation(recipe: Recipe, corpus: Corpus) -> None:
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


def _warn_of_patience(recipe: Recipe, count: int) -> None:
    train = recipe.train
    if train.patience is None:
        return
    planned = course(train, count)
    every = train.validate_every or planned.per_epoch
    idle = idle_patience(train.patience, planned.steps, every)
    if idle:
        note(f"{recipe.source.at(('train', 'patience'))}: {idle}")


def _warn_of_steps(recipe: Recipe, count: int) -> None:
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


def _check_context(recipe: Recipe, model: PreTrainedModel) -> None:
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
