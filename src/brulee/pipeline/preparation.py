"""What a run needs, loaded and checked before the first forward pass."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch

from brulee.data.corpus import Corpus, open_corpus
from brulee.data.encoded import check_prompt_loss
from brulee.data.encoding import Encoder
from brulee.data.instruction import instruction
from brulee.data.lengths import Fitting, fitting_rows
from brulee.data.mixture import Mixture
from brulee.data.pieces import divide
from brulee.data.thoughts import Thoughts, taught_by
from brulee.evaluation.answering import how_calls_are_written
from brulee.evaluation.base import Metric
from brulee.evaluation.guards import Guard
from brulee.methods import Attached, Method, build_method
from brulee.methods.alongside import Alongside
from brulee.methods.continuing import StartAdapter, start_of
from brulee.methods.whole import check_whole
from brulee.models.hollow import Together
from brulee.models.kernels import say_if_missing
from brulee.models.loading import Base
from brulee.models.precision import pick_dtype
from brulee.models.recipe_base import load_recipe_base
from brulee.models.tokenizers import encoder_of
from brulee.pipeline.asked import Asked, asked_of, of_pieces
from brulee.pipeline.checks import (
    check_context,
    check_fits,
    check_named,
    check_sharded,
    check_trainable,
    check_validation,
    device_of,
    say_of_start,
    warn_of_patience,
    warn_of_steps,
)
from brulee.pipeline.folder import RunFolder
from brulee.pipeline.generating import sampling_of
from brulee.pipeline.new_tokens import alongside_of, say_of_tokens
from brulee.pipeline.record import record
from brulee.pipeline.reference_check import check_references
from brulee.pipeline.task_metrics import task_metrics
from brulee.progress import bar, silent, waiting
from brulee.recipe import Recipe
from brulee.training.noise import check_noise
from brulee.training.optim import check_optimizer
from brulee.training.world import ALONE, World

_LOOKED_AT = 50  # rows of a task whose answers are searched for reasoning tags


def together_in(world: World) -> Together | None:
    """How the processes load a model that they will shard; None if they will not."""
    return Together(world.writes, world.same) if world.shards else None


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
    start: StartAdapter | None = None
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
    check_trainable(recipe, method, recipe.base.quantise)
    device = device_of(recipe)
    check_optimizer(recipe.train, device.type == "cuda")
    # The precision chosen when the run began is kept: one run has one precision.
    precision = where.manifest().get("precision", recipe.train.precision)
    dtype = world.same(pick_dtype(precision, device))
    if begin and not where.begun and world.writes:
        say_if_missing(device)
    corpus = open_corpus(recipe)
    check_validation(recipe, corpus)
    metrics = task_metrics(recipe, corpus)
    asked = asked_of(recipe, corpus, metrics)
    check_references(corpus, asked)
    if world.shards:
        check_sharded(recipe, method)
    # Trained weights stay in fp32; frozen ones can be in bf16.
    base = _load(recipe, torch.float32 if method.stores_model else dtype, device, world)
    check_trainable(recipe, method, base.quantised)
    alongside = alongside_of(recipe, base, method, start)
    day = world.same(where.day)
    encoder = encoder_of(base.tokenizer, base.kind, recipe, day).thinking(_taught(corpus))
    for own in metrics.values():
        how_calls_are_written(encoder, own)
    # A method's prefix takes room in every document; any ids will do to measure it.
    measured = encoder.with_prefix((0,) * method.virtual_tokens())
    corpus = divide(corpus, measured)
    asked = of_pieces(asked, corpus, recipe.evaluate.limit)
    fitting = _fitting(corpus, measured)
    first = corpus.tasks[corpus.trained[0]].templates.templates[0]
    method.instruct(base.tokenizer, instruction(first))
    if begin and not where.begun:
        check_fits(method, alongside, base, start)
        if world.writes:
            say_of_tokens(recipe, base)
        if start and world.writes:
            say_of_start(start, base, encoder)
    rows, train = {p: found.rows for p, found in fitting.items()}, recipe.train
    mixture = corpus.mixture(rows, train.seed, train.shuffle)
    warn_of_patience(recipe, len(mixture))
    warn_of_steps(recipe, len(mixture))
    autocast = method.stores_model and dtype == torch.bfloat16
    prepared = Prepared(
        where=where, recipe=recipe, method=method, metrics=metrics, asked=asked, guards=guards,
        corpus=corpus, base=base, encoder=encoder, fitting=fitting, mixture=mixture,
        autocast=autocast, alongside=alongside, start=start, world=world,
    )  # fmt: skip
    world.wait()  # other processes read the folder before anything is written there
    if begin and world.writes:
        record(prepared, dtype)
    world.wait()
    return prepared


def _taught(corpus: Corpus) -> Thoughts | None:
    """The tags of the reasoning that a task's answers begin with, if any."""
    with bar("Looking for reasoning", len(corpus.trained), "tasks", least=200) as progress:
        for task in (corpus.tasks[path] for path in corpus.trained):
            progress.advance()
            if task.plain:
                continue
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


def _load(recipe: Recipe, dtype: torch.dtype, device: torch.device, world: World) -> Base:
    """The base model; on the CPU, with its values in one process only, if it will be sharded.

    Raises InputError if it cannot be trained as the recipe says.
    """
    together = together_in(world)
    base = load_recipe_base(recipe, dtype, torch.device("cpu") if together else device, together)
    check_whole(recipe.source.resolve(recipe.base.name), base)
    check_context(recipe, base.model)
    sampling_of(recipe, base.tokenizer)  # refuses a schema that cannot be enforced with its tokens
    check_noise(base.model, recipe.train.neftune_alpha)
    check_prompt_loss(base.kind, recipe.train.prompt_loss_weight)
    return base


def with_base_anew(prepared: Prepared) -> Prepared:
    """The run with a base loaded once more, for one that was sharded with another adapter."""
    base, world = prepared.base, prepared.world
    return replace(prepared, base=_load(prepared.recipe, base.model.dtype, base.device, world))
