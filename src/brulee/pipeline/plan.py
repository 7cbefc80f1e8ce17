"""What a recipe would take with each method, before anything is trained."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from brulee.data.corpus import open_corpus
from brulee.data.encoding import Encoded, Encoder
from brulee.data.instruction import instruction
from brulee.data.lengths import fitting_rows
from brulee.errors import InputError
from brulee.methods import METHODS, Method, build_method
from brulee.methods.accounting import Count, count
from brulee.models.loading import Base
from brulee.models.precision import pick_device, pick_dtype
from brulee.models.skeleton import depth, load_shallow, load_skeleton
from brulee.models.tokenizers import load_encoder
from brulee.planning.cost import Cost, cost
from brulee.planning.memory import Memory, memory, room
from brulee.planning.probe import Probe, probe
from brulee.progress import bar
from brulee.recipe import MethodSpec, Recipe
from brulee.training.documents import course, planned_documents
from brulee.training.passes import Passes, within

_SAMPLE = 256  # documents whose lengths stand for all


@dataclass(frozen=True)
class Line:
    """One method: what it would take, or why it cannot be put on this model."""

    method: str
    label: str
    trainable: int
    memory: Memory | None
    cost: Cost | None
    fits: bool
    refusal: str | None = None


@dataclass(frozen=True)
class Plan:
    """Every method, the recipe's own first; `room` is the bytes that this machine has for it."""

    base: str
    device: str
    precision: str
    room: int
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class _Work:
    """The heaviest pass of the first documents, and how much there is to do in all."""

    heaviest: list[Encoded]
    accumulates: bool
    tokens: int
    steps: int


def plan(recipe: Recipe, names: Sequence[str] = tuple(METHODS)) -> Plan:
    """Count, probe and add up; takes seconds, and the memory of a few layers.

    The recipe's method has its own options, the others their defaults. Raises InputError for a
    recipe whose data or model cannot be read.
    """
    device = pick_device(recipe.train.device)
    dtype = pick_dtype(recipe.train.precision, device)
    encoder = load_encoder(recipe)
    sample = _Sample(recipe, encoder)
    name = _model_name(recipe)
    own = recipe.method.name
    ordered = [own, *(n for n in names if n != own)]
    options = {n: recipe.method.options() if n == own else {} for n in ordered}
    counts = {n: count(lambda: load_skeleton(name), options[n], (n,))[0] for n in ordered}
    probed = _probe_all(recipe, name, sample, options, device, dtype)
    lines = []
    for method in ordered:
        found = probed[method]
        if isinstance(found, str):
            label = counts[method].label
            lines.append(Line(method, label, 0, None, None, False, found))
            continue
        whole, work = found
        lines.append(_line(recipe, counts[method], whole, work, name, dtype, device))
    precision = str(dtype).removeprefix("torch.")
    return Plan(recipe.base.name, str(device), precision, room(device), tuple(lines))


class _Sample:
    """The first training documents of a recipe, as any method would read them."""

    def __init__(self, recipe: Recipe, encoder: Encoder) -> None:
        self.recipe, self.encoder = recipe, encoder
        self.corpus = open_corpus(recipe)
        tasks = self.corpus.tasks
        fitting = {
            p: fitting_rows(tasks[p], encoder, tasks[p].train).rows for p in self.corpus.trained
        }
        self.mixture = self.corpus.mixture(fitting, recipe.train.seed)

    def work(self, encoder: Encoder, pass_tokens: int) -> _Work:
        """Read the first documents with a method's encoder, and cut them into passes."""
        spec = self.recipe.train
        planned = planned_documents(spec, len(self.mixture))
        whole = course(spec, len(self.mixture))
        documents = [self._document(encoder, i) for i in range(min(planned, _SAMPLE))]
        heaviest: list[Encoded] = []
        accumulates = False
        for step in _steps(documents, whole.per_step):
            parts = list(within(step, spec.batch_size, pass_tokens))
            largest = max(parts, key=_tokens)
            if _tokens(largest) > _tokens(heaviest):
                heaviest, accumulates = largest, len(parts) > 1
        tokens = round(_tokens(documents) / len(documents) * planned)
        return _Work(heaviest, accumulates, tokens, whole.steps)

    def _document(self, encoder: Encoder, i: int) -> Encoded:
        draw = self.mixture.sample(i)
        key = f"{self.recipe.train.seed}/{draw.epoch}/{draw.row}"
        return self.corpus.tasks[draw.part].draw(encoder, draw.row, draw.template, key)

    def instruct(self, method: Method) -> None:
        """Tell a soft prompt what the task says."""
        first = self.corpus.tasks[self.corpus.trained[0]].templates.templates[0]
        method.instruct(self.encoder.tokenizer, instruction(first))


def _steps(documents: Sequence[Encoded], size: int) -> Iterator[Sequence[Encoded]]:
    return (documents[i : i + size] for i in range(0, len(documents), size))


def _tokens(documents: Sequence[Encoded]) -> int:
    return sum(len(d.ids) for d in documents)


def _probe_all(
    recipe: Recipe,
    name: str,
    sample: _Sample,
    options: Mapping[str, Mapping[str, Any]],
    device: torch.device,
    dtype: torch.dtype,
) -> dict[str, tuple[Probe, _Work] | str]:
    """Every method on the model of a few layers and of a few more, then at its full depth.

    Of a method that cannot be put on the model, the reason.
    """
    layers = depth(name)
    depths = sorted({1, min(3, layers)})
    found: dict[str, list[tuple[Probe, _Work]]] = {method: [] for method in options}
    refused: dict[str, str] = {}
    with bar("Trying methods", total=len(depths) * len(options), unit="probes") as progress:
        for shallow, method_name in itertools.product(depths, options):
            progress.advance()
            method = build_method(MethodSpec(name=method_name, **options[method_name]))
            held = torch.float32 if method.stores_model else dtype
            model = load_shallow(name, shallow, held).to(device)
            base = Base(model, sample.encoder.tokenizer, name, "", sample.encoder.kind, Path())
            autocast = method.stores_model and dtype == torch.bfloat16
            try:
                found[method_name].append(_probe(recipe, base, shallow, method, sample, autocast))
            except InputError as error:
                refused[method_name] = str(error)
            del base, model
            gc.collect()  # what is attached and its model hold each other
    return {
        n: refused[n] if n in refused else (p[0][0].deeper(p[-1][0], layers), p[-1][1])
        for n, p in found.items()
    }


def _probe(
    recipe: Recipe, base: Base, layers: int, method: Method, sample: _Sample, autocast: bool
) -> tuple[Probe, _Work]:
    sample.instruct(method)
    if method.documents():
        passes = Passes(base, most=1, autocast=autocast)
        work = sample.work(sample.encoder, passes.pass_tokens)
        with passes.boundary():
            method.adopt(method.prepare(base.model, passes.each(work.heaviest[:1])))
    attached = method.attach(base.model, recipe.train.seed)
    encoder = sample.encoder.with_prefix(attached.prefix_ids)
    pass_tokens = Passes(base, most=1).pass_tokens
    if recipe.train.micro_batch != "auto":
        pass_tokens = min(pass_tokens, recipe.train.micro_batch)
    work = sample.work(encoder, pass_tokens)
    return probe(base, layers, attached, work.heaviest, work.accumulates, autocast), work


def _line(
    recipe: Recipe,
    counted: Count,
    whole: Probe,
    work: _Work,
    name: str,
    dtype: torch.dtype,
    device: torch.device,
) -> Line:
    skeleton = load_skeleton(name)
    stores_model = METHODS[counted.method].stores_model
    held = torch.float32 if stores_model else dtype
    needed = memory(
        counted,
        whole,
        base_bytes=sum(p.numel() for p in skeleton.parameters()) * held.itemsize,
        trained_in_base=stores_model,
        vocabulary=int(skeleton.config.get_text_config().vocab_size),
        learned=sum(d.learned for d in work.heaviest),
        accumulates=work.accumulates,
    )
    spec = recipe.train
    price = cost(
        counted,
        whole,
        pass_tokens=_tokens(work.heaviest),
        tokens=work.tokens,
        steps=work.steps,
        checkpoints=spec.keep_checkpoints + 1 + spec.keep_best,
    )
    fits = needed.total <= room(device)
    return Line(counted.method, counted.label, counted.trainable, needed, price, fits)


def _model_name(recipe: Recipe) -> str:
    """The base as the readers of configurations take it: paths from where the recipe lies."""
    path = recipe.source.resolve(recipe.base.name)
    return str(path) if path.exists() else recipe.base.name
