"""Prediction of each method's memory and time for a recipe, before training."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from brulee.errors import InputError
from brulee.methods import METHODS, build_method, unknown_method
from brulee.methods.accounting import Count, count
from brulee.methods.continuing import resolved
from brulee.models.configuration import model_name
from brulee.models.lengths import within_context
from brulee.models.precision import pick_dtype
from brulee.models.skeleton import depth, held_as, load_skeleton
from brulee.pipeline.checks import check_named, device_of, unshardable
from brulee.pipeline.new_tokens import TokenRows, rows_of
from brulee.pipeline.plan_trial import Sample, Tried, deeper, tried
from brulee.planning.apart import Apart
from brulee.planning.cost import Cost, Saves, cost
from brulee.planning.memory import Memory, memory, room
from brulee.planning.micro_batch import tokens_within
from brulee.planning.probe import Probe
from brulee.planning.shares import Shares, in_each, shares_of
from brulee.progress import bar
from brulee.recipe import MethodSpec, Recipe
from brulee.training.world import sharing_processes

# Modules that a training process has imported when it begins.
_IMPORTS = ("brulee.pipeline.tuning", "brulee.pipeline.preparation")
_FIRST, _APART = 2, 3  # layers of the first trial, and how many more the second has


@dataclass(frozen=True)
class Line:
    """One method: what it would need, or why it cannot be used on this model."""

    method: str
    label: str
    trainable: int
    memory: Memory | None
    cost: Cost | None
    fits: bool
    refusal: str | None = None


@dataclass(frozen=True)
class Plan:
    """Every method, the recipe's own first; `room` is this machine's memory for it in bytes.

    If the environment has several `processes` share the weights, memory is that of each.
    """

    base: str
    device: str
    precision: str
    room: int
    lines: tuple[Line, ...]
    processes: int = 1


def plan(recipe: Recipe, names: Sequence[str] | None = None) -> Plan:
    """Predict by short trials, by default for all methods, in seconds and a few layers' memory.

    The recipe's method has its own options, the others their defaults. Raises InputError for a
    recipe whose data or model cannot be read, or whose method or names are not valid.
    """
    with recipe.source.placing():
        return _planned(recipe, names)


def _planned(recipe: Recipe, names: Sequence[str] | None) -> Plan:
    # Invalid names are refused before another process is started.
    if recipe.method.start is None:
        build_method(recipe.method, recipe.source)
        recipe = within_context(recipe)
    else:  # what an adapter costs does not depend on its values
        recipe = resolved(recipe)
    check_named(recipe)
    names = tuple(METHODS) if names is None else names
    for name in names:
        if name not in METHODS:
            raise unknown_method(name, "--method")
    device = device_of(recipe)
    dtype = pick_dtype(recipe.train.precision, device)
    own, processes = recipe.method.name, sharing_processes()
    ordered = [own, *(n for n in names if n != own)]
    with (
        Apart(imports_of_trials(recipe, device), Sample, recipe) as apart,
        bar("Trying methods", total=len(ordered), unit="methods") as progress,
    ):
        trials = _Trials(apart, recipe, device, dtype, rows_of(recipe), processes)
        lines = []
        for name in ordered:
            lines.append(_line(trials, name, recipe.method.options() if name == own else {}))
            progress.advance()
    precision = str(dtype).removeprefix("torch.")
    free = _room(device, processes)
    return Plan(recipe.base.name, str(device), precision, free, tuple(lines), processes)


def _room(device: torch.device, processes: int) -> int:
    """The memory of each process on this machine: on a CPU, they share it."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    return room(device) // (here if device.type == "cpu" else 1)


def imports_of_trials(recipe: Recipe, device: torch.device) -> tuple[str, ...]:
    """Modules to import before trials fork; none that initialises CUDA, which forks cannot use."""
    if _held(recipe) and device.type != "cuda":
        return (*_IMPORTS, "bitsandbytes")
    return _IMPORTS


def _held(recipe: Recipe) -> str | None:
    """How the base is quantised, by the recipe or in its files; None if it is not."""
    return held_as(model_name(recipe), recipe.base.quantise, recipe.base.revision)


@dataclass(frozen=True)
class _Trials:
    """Tries methods on the fewest layers that predict the whole model."""

    apart: Apart
    recipe: Recipe
    device: torch.device
    dtype: torch.dtype
    rows: TokenRows
    processes: int

    def of(
        self, counted: Count, options: Mapping[str, Any], fitting: int | None = None
    ) -> list[Tried]:
        """Trials at two depths to extrapolate from, or one at the full depth.

        What a method trains must grow linearly with depth: "the last four layers" do from four on.
        """
        model = model_name(self.recipe)
        layers = depth(model, self.recipe.base.revision)
        for depths in _depths(layers):
            try:
                found = [
                    self.apart.run(
                        tried,
                        model,
                        n,
                        counted.method,
                        options,
                        self.device,
                        self.dtype,
                        self.rows,
                        fitting,
                        self.processes == 1,
                    )
                    for n in depths
                ]
            except InputError:
                if depths == [layers]:
                    raise
                continue
            if depths == [layers] or _grown(found, depths, layers) == counted.trainable:
                return found
        raise AssertionError("the last is the full depth")


def _depths(layers: int) -> Iterator[list[int]]:
    first = _FIRST
    while first + _APART < layers:
        yield [first, first + _APART]
        first *= 2
    yield [layers]


def _grown(found: Sequence[Tried], depths: Sequence[int], layers: int) -> float:
    (a, b), (shallow, deep) = found, depths
    return a.trainable + (layers - shallow) * (b.trainable - a.trainable) / (deep - shallow)


def _line(trials: _Trials, name: str, options: Mapping[str, Any]) -> Line:
    recipe = trials.recipe
    model, revision, scaling = model_name(recipe), recipe.base.revision, recipe.rope_scaling
    rows = trials.rows
    counted = count(
        lambda: load_skeleton(model, revision, scaling, rows.vocabulary),
        options,
        (name,),
        alongside=rows.trained,
    )[0]
    refusal = counted.refusal
    if _held(recipe) and METHODS[name].stores_model:
        refusal = "it trains the weights themselves, and a quantised base has none to train"
    elif trials.processes > 1:
        spec = MethodSpec(name=name, **options)
        refusal = refusal or unshardable(build_method(spec), _held(recipe))
    if refusal:
        return Line(name, counted.label, 0, None, None, False, refusal)
    layers = depth(model, revision)
    skeleton = load_skeleton(model, revision, vocabulary=rows.vocabulary)
    found = trials.of(counted, options)
    shares = None
    if trials.processes > 1:
        shares = shares_of(skeleton, (), trials.processes, found[-1].itemsize)
    fitting = _fitting(trials, deeper(found, layers), skeleton, counted, found[-1], shares)
    if found[-1].pass_tokens > fitting:
        found = trials.of(counted, options, fitting)
    whole, last = deeper(found, layers), found[-1]
    vocabulary = int(skeleton.config.get_text_config().vocab_size)
    needed = memory(whole, vocabulary, last.learned, trials.device.type)
    if shares is not None:
        needed = in_each(needed, shares, METHODS[name].stores_model)
    train = recipe.train
    price = cost(
        whole,
        tokens=last.tokens,
        documents=last.documents,
        document_seconds=last.document_seconds,
        steps=last.steps,
        result_bytes=counted.stored_bytes,
        saves=Saves(last.saves, train.keep_checkpoints, train.keep_best),
    )
    fits = needed.total <= _room(trials.device, trials.processes)
    return Line(name, counted.label, counted.trainable, needed, price, fits)


def _fitting(
    trials: _Trials,
    whole: Probe,
    skeleton: PreTrainedModel,
    counted: Count,
    last: Tried,
    shares: Shares | None,
) -> int:
    """The most tokens that a training would put into a pass, given the available memory."""
    if trials.recipe.train.micro_batch != "auto":
        return sys.maxsize
    held, trained = int(whole.weights), counted.gradient_bytes // 4  # of fp32 values
    if shares is not None:
        held += shares.peak - shares.whole
        trained //= trials.processes if METHODS[counted.method].stores_model else 1
    free = _room(trials.device, trials.processes)
    return tokens_within(free, skeleton, held, trained, last.itemsize)
