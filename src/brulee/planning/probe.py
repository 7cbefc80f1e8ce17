"""A short training on a model of a few layers, measured so that it can be scaled up.

Nothing is looked up. The recipe's own first documents go through the actual training code, so that
the numbers include everything it saves or wastes; two depths give the cost of one more layer.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path

import torch

from brulee.data.encoding import Encoded
from brulee.methods.base import Attached
from brulee.models.quantising import held_bytes
from brulee.recipe import TrainSpec
from brulee.training import checkpoint
from brulee.training.memory import current_bytes, peak_bytes, reset_peak
from brulee.training.optim import optimizer_of
from brulee.training.passes import Passes

# Steps to run, or fewer if the training has fewer. The first includes one-time work; memory keeps
# rising for a while as documents of new lengths arrive.
_STEPS = 8
_TOKENS = 4096  # of a step; more give no new information


@dataclass(frozen=True)
class Probe:
    """The cost of training a model with `layers` layers, in seconds and bytes.

    `token` is per token of a pass, `update` per step (clipping and the optimiser), `first` the
    extra time of the first step. `runtime` is the memory before there is a model: Python, its
    libraries, and the data; 0 on CUDA. `peak` is the peak of the steps, `saving` that of writing a
    checkpoint, both including everything else.
    """

    layers: int
    token: float
    update: float
    first: float
    weights: float
    gradients: float
    optimizer: float
    peak: float
    saving: float
    runtime: float

    def deeper(self, other: Probe, layers: int) -> Probe:
        """Extrapolate from this probe and the deeper `other` to a model with `layers` layers."""
        steps = (layers - self.layers) / max(1, other.layers - self.layers)
        a, b = asdict(self), asdict(other)
        grown = {key: max(a[key], a[key] + steps * (b[key] - a[key])) for key in a}
        return Probe(**{**grown, "layers": layers})

    def beside(self, more: int) -> Probe:
        """The same in a process that used `more` additional bytes from the beginning."""
        return replace(
            self,
            peak=self.peak + more,
            saving=self.saving + more,
            runtime=self.runtime + more,
        )


@dataclass(frozen=True)
class Work:
    """The largest pass of some steps, and whether its step has more than one pass."""

    heaviest: list[Encoded]
    accumulates: bool


def heaviest(steps: Sequence[Sequence[Encoded]], passes: Passes) -> Work:
    """Split the steps as training will, and find the pass with the most tokens."""
    found = Work([], False)
    for step in steps:
        parts = list(passes.parts(step))
        largest = max(parts, key=tokens_of)
        if tokens_of(largest) > tokens_of(found.heaviest):
            found = Work(largest, len(parts) > 1)
    return found


def tokens_of(documents: Sequence[Encoded]) -> int:
    """Their total number of tokens."""
    return sum(len(d.ids) for d in documents)


class Prober:
    """Created before the model, to measure the memory used until then."""

    def __init__(self, layers: int, device: torch.device) -> None:
        self.layers, self.device = layers, device
        self.runtime = current_bytes(device) if device.type == "cpu" else 0

    def probe(
        self,
        passes: Passes,
        attached: Attached,
        steps: Sequence[Sequence[Encoded]],
        spec: TrainSpec,
    ) -> Probe:
        """Train at a rate of 0 on the first steps, then on the largest pass; save a checkpoint."""
        groups = attached.groups()
        parameters = [p for group in groups for p in group.parameters]
        optimizer = optimizer_of(spec, groups, 0.0)
        passes.base.model.train()
        reset_peak(self.device)
        with passes.boundary():
            timed = self._timed(passes, parameters, optimizer, steps)
            gradients = self._fill(passes, parameters, optimizer, steps)
        moments = [t for state in optimizer.state.values() for t in state.values()]
        peak = peak_bytes(self.device)
        reset_peak(self.device)
        with tempfile.TemporaryDirectory() as scratch:
            checkpoint.save(Path(scratch), 1, parameters, optimizer, {}, 1)
        held = {id(p) for p in passes.base.model.parameters()}
        beside = sum(_bytes(p) for p in parameters if id(p) not in held)
        return Probe(
            layers=self.layers,
            **timed,
            weights=held_bytes(passes.base.model) + beside,
            gradients=gradients,
            optimizer=sum(_bytes(t) for t in moments if isinstance(t, torch.Tensor)),
            peak=peak,
            saving=peak_bytes(self.device),
            runtime=self.runtime,
        )

    def _timed(
        self,
        passes: Passes,
        parameters: Sequence[torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
        steps: Sequence[Sequence[Encoded]],
    ) -> dict[str, float]:
        """Steps with different documents, as in training: kernels prepare for every new length."""
        tokens, work, updates = [], [], []
        for i in range(max(2, min(_STEPS, len(steps)))):
            documents = _beginning(steps[i % len(steps)])
            tokens.append(tokens_of(documents))
            work.append(self._seconds(passes.backward, documents))
            updates.append(self._seconds(_update, parameters, optimizer))
            optimizer.zero_grad(set_to_none=True)
        token = statistics.median(s / n for s, n in zip(work[1:], tokens[1:], strict=True))
        update = statistics.median(updates[1:])
        first = max(0.0, work[0] + updates[0] - tokens[0] * token - update)
        return {"token": token, "update": update, "first": first}

    def _fill(
        self,
        passes: Passes,
        parameters: Sequence[torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
        steps: Sequence[Sequence[Encoded]],
    ) -> int:
        """Run the largest pass, twice if its step accumulates; returns the gradients' bytes."""
        work = heaviest(steps, passes)
        for _ in range(2 if work.accumulates else 1):
            passes.backward(work.heaviest)
        _update(parameters, optimizer)
        gradients = sum(_bytes(p.grad) for p in parameters if p.grad is not None)
        optimizer.zero_grad(set_to_none=True)
        return gradients

    def _seconds(self, work: Callable[..., object], *arguments: object) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        started = time.perf_counter()
        work(*arguments)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - started


def _beginning(step: Sequence[Encoded]) -> Sequence[Encoded]:
    """The step's first documents, enough to represent all of it."""
    ends = [*accumulate(len(d.ids) for d in step)]
    return step[: 1 + sum(end <= _TOKENS for end in ends)]


def _update(parameters: Sequence[torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
