"""A short trial of a method on a model of a few layers, in a separate process."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from brulee.data.corpus import open_corpus
from brulee.data.encoded import check_prompt_loss, with_prompts
from brulee.data.encoding import Encoded, Encoder
from brulee.data.instruction import instruction
from brulee.data.lengths import fitting_rows
from brulee.data.pieces import divide
from brulee.methods import Method, build_method
from brulee.methods.base import Attached
from brulee.models.loading import Base
from brulee.models.skeleton import held_as, load_shallow
from brulee.models.tokenizers import load_encoder
from brulee.pipeline.new_tokens import NO_ROWS, TokenRows
from brulee.planning.apart import unseen_bytes
from brulee.planning.probe import Probe, Prober, heaviest, tokens_of
from brulee.recipe import MethodSpec, Recipe
from brulee.training.documents import course, planned_documents
from brulee.training.passes import Passes

_SAMPLE = 256  # documents whose lengths represent all


@dataclass(frozen=True)
class Tried:
    """A trial's measurements, its number of trained values, and the size of the whole training."""

    probe: Probe
    trainable: int
    tokens: int
    documents: int
    document_seconds: float
    steps: int
    saves: int  # number of checkpoints written
    learned: int  # tokens with loss in the heaviest pass
    pass_tokens: int  # tokens of the heaviest pass
    itemsize: int  # bytes per value of the base's weights


class Sample:
    """The first training documents of a recipe, as any method would read them."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.encoder = recipe, load_encoder(recipe)
        check_prompt_loss(self.encoder.kind, recipe.train.prompt_loss_weight)
        self.whole = open_corpus(recipe)
        self._begin(self.encoder)

    def _begin(self, encoder: Encoder) -> None:
        """Draw as a training with this encoder would; it determines how texts are divided."""
        self.corpus = divide(self.whole, encoder)
        tasks = self.corpus.tasks
        fitting = {
            p: fitting_rows(tasks[p], encoder, tasks[p].train).rows for p in self.corpus.trained
        }
        spec = self.recipe.train
        self.mixture = self.corpus.mixture(fitting, spec.seed, spec.shuffle)
        self.course = course(spec, len(self.mixture))
        self.documents = planned_documents(spec, len(self.mixture))

    def steps(self, encoder: Encoder) -> list[list[Encoded]]:
        """The first documents, read with a method's encoder, step by step."""
        if self.corpus is not self.whole:
            self._begin(encoder)
        size = self.course.per_step
        count = min(self.documents, max(_SAMPLE, size))
        read = [self._document(encoder, i) for i in range(count)]
        return [read[i : i + size] for i in range(0, count, size)]

    def _document(self, encoder: Encoder, i: int) -> Encoded:
        draw, spec = self.mixture.sample(i), self.recipe.train
        key = f"{spec.seed}/{draw.epoch}/{draw.row}"
        encoded = self.corpus.tasks[draw.part].draw(encoder, draw.row, draw.template, key)
        return with_prompts(encoded, spec.prompt_loss_weight, len(encoder.prefix_ids))

    def instruct(self, method: Method) -> None:
        """Give a soft prompt the task's instruction."""
        first = self.corpus.tasks[self.corpus.trained[0]].templates.templates[0]
        method.instruct(self.encoder.tokenizer, instruction(first))


def tried(
    sample: Sample,
    model: str,
    layers: int,
    name: str,
    options: Mapping[str, Any],
    device: torch.device,
    dtype: torch.dtype,
    rows: TokenRows = NO_ROWS,
    fitting: int | None = None,
    by_ours: bool = True,
) -> Tried:
    """Train the method briefly on `layers` layers of `model`, a name or a path.

    A pass has at most `fitting` tokens unless the recipe sets a number; `rows` are those of tokens
    that the recipe adds or trains. `by_ours` is as in `Passes`. Raises InputError for a
    method that cannot be used on so few layers.
    """
    prober = Prober(layers, device)
    recipe = sample.recipe
    method = build_method(MethodSpec(name=name, **options))
    held = torch.float32 if method.stores_model else dtype
    autocast = method.stores_model and dtype == torch.bfloat16
    spec, scaling = recipe.base, recipe.rope_scaling
    bits = held_as(model, spec.quantise, spec.revision)
    known = (bits, spec.revision, scaling, rows.vocabulary)
    shallow = load_shallow(model, layers, held, device, *known)
    base = Base(shallow, sample.encoder.tokenizer, model, "", sample.encoder.kind, Path())
    attached = _attach(sample, method, base, autocast, rows)
    encoder = copy.copy(sample.encoder.with_prefix(attached.prefix_ids))
    encoder.max_length -= attached.reserved
    began = time.perf_counter()
    steps = sample.steps(encoder)
    documents = [document for step in steps for document in step]
    document_seconds = (time.perf_counter() - began) / len(documents)
    passes = Passes(
        base,
        most=recipe.train.batch_size,
        autocast=autocast,
        noise=recipe.train.neftune_alpha,
        smoothing=recipe.train.label_smoothing,
        by_ours=by_ours,
    )
    bound = fitting if recipe.train.micro_batch == "auto" else recipe.train.micro_batch
    passes.pass_tokens = min(passes.pass_tokens, bound or sys.maxsize)
    probe = prober.probe(passes, attached, steps, recipe.train)
    most = heaviest(steps, passes).heaviest
    return Tried(
        probe=probe.beside(unseen_bytes() if device.type == "cpu" else 0),
        trainable=attached.trainable(),
        tokens=round(tokens_of(documents) / len(documents) * sample.documents),
        documents=sample.documents,
        document_seconds=document_seconds,
        steps=sample.course.steps,
        saves=sample.course.saves(recipe.train.save_every),
        learned=sum(d.predicted for d in most),
        pass_tokens=tokens_of(most),
        itemsize=shallow.dtype.itemsize,
    )


def _attach(
    sample: Sample, method: Method, base: Base, autocast: bool, rows: TokenRows
) -> Attached:
    sample.instruct(method)
    if method.documents():
        passes = Passes(base, most=1, autocast=autocast)
        (first, *_), *_ = sample.steps(sample.encoder)
        with passes.boundary():
            method.adopt(method.prepare(base.model, passes.each([first])))
    return rows.alongside(method).attach(method, base.model, sample.recipe.train.seed)


def deeper(trials: Sequence[Tried], layers: int) -> Probe:
    """Extrapolate trials of one or two depths to a model of `layers` layers."""
    return trials[0].probe.deeper(trials[-1].probe, layers)
