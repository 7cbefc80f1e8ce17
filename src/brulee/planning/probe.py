"""One pass of a method through a model of a few layers: what it takes, to be scaled up.

Nothing is looked up. The pass is the recipe's own first documents through the code that will train,
so that whatever that code saves or wastes is in the numbers; two depths give what one more layer
adds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from brulee.data.encoding import Encoded
from brulee.methods.base import Attached
from brulee.models.loading import Base
from brulee.planning.live import LiveBytes
from brulee.training.memory import peak_bytes, reset_peak
from brulee.training.optim import optimizer_of
from brulee.training.passes import Passes

_TIMES = 3  # the shortest counts: nothing makes a pass faster than it is


@dataclass(frozen=True)
class Probe:
    """What a pass took on a model of `layers` layers.

    `live_bytes` is the most that it held beside weights and moments; gradients are among it unless
    passes before it had left them there. `update_seconds` are those of clipping and AdamW.
    `runtime_bytes` are what the process then held beside all that can be counted: Python,
    libraries and the room that kernels work in; 0 on CUDA.
    """

    layers: int
    seconds: float
    update_seconds: float
    live_bytes: int
    runtime_bytes: int = 0

    def deeper(self, other: Probe, layers: int) -> Probe:
        """What this one and the deeper `other` say of a model of so many layers."""
        steps = (layers - self.layers) / max(1, other.layers - self.layers)

        def grown(a: float, b: float) -> float:
            return max(a, a + steps * (b - a))

        return Probe(
            layers,
            grown(self.seconds, other.seconds),
            grown(self.update_seconds, other.update_seconds),
            int(grown(self.live_bytes, other.live_bytes)),
            max(self.runtime_bytes, other.runtime_bytes),
        )


def probe(
    base: Base,
    layers: int,
    attached: Attached,
    documents: Sequence[Encoded],
    accumulates: bool,
    autocast: bool,
) -> Probe:
    """Run the documents as one pass, the second of a step where that `accumulates`."""
    groups = attached.groups()
    parameters = [p for group in groups for p in group.parameters]
    optimizer = optimizer_of("adamw", groups, 0.0, 0.0)
    base.model.train()
    # Anew for each: what a first pass lays out for the later ones is a part of what it holds.
    live = _live(_passes(base, documents, autocast), parameters, documents, accumulates)
    optimizer.zero_grad(set_to_none=True)
    passes = _passes(base, documents, autocast)
    seconds, updates = [], []
    reset_peak(base.device)
    for _ in range(_TIMES):
        with passes.boundary():
            seconds.append(_timed(base.device, lambda: passes.backward(documents)))
        updates.append(_timed(base.device, lambda: _update(parameters, optimizer)))
        optimizer.zero_grad(set_to_none=True)
    base.model.eval()
    runtime = 0
    if base.device.type == "cpu":
        held = {p.untyped_storage()._cdata: p for p in (*base.model.parameters(), *parameters)}
        # Moments, and after a pass of its own the gradients too where `live` leaves them out.
        counted = _bytes([*held.values()]) + (3 if accumulates else 2) * _bytes(parameters) + live
        runtime = max(0, peak_bytes(base.device) - counted)
    return Probe(layers, min(seconds), min(updates), live, runtime)


def _passes(base: Base, documents: Sequence[Encoded], autocast: bool) -> Passes:
    """Passes that take all of the documents at once."""
    passes = Passes(base, most=len(documents), autocast=autocast)
    passes.pass_tokens = sys.maxsize
    return passes


def _update(parameters: Sequence[torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()


def _live(
    passes: Passes,
    parameters: Sequence[torch.nn.Parameter],
    documents: Sequence[Encoded],
    accumulates: bool,
) -> int:
    """The most that a pass holds; without the gradients if those of passes before it are there."""
    model, device = passes.base.model, passes.base.device

    def work() -> None:
        with passes.boundary():
            for _ in range(2 if accumulates else 1):
                passes.backward(documents)

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        peak = int(torch.cuda.max_memory_allocated(device)) - before
    else:
        with LiveBytes([*model.parameters(), *model.buffers(), *parameters]) as live:
            work()
        peak = live.peak
    return peak - (_bytes(parameters) if accumulates else 0)


def _bytes(parameters: Sequence[torch.nn.Parameter]) -> int:
    return sum(p.numel() * p.element_size() for p in parameters)


def _timed(device: torch.device, work: Callable[[], object]) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
