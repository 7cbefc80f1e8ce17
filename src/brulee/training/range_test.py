"""Learning rate range test: the rate rises at every step until the loss diverges.

Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3. Too low a rate
leaves the loss unchanged, a good one lowers it, too high a one makes it jump. The suggested rate is
where the smoothed loss falls fastest with the logarithm of the rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from brulee.errors import BruleeError, InputError
from brulee.methods.base import Attached
from brulee.progress import bar
from brulee.recipe import TrainSpec
from brulee.training.documents import Documents
from brulee.training.guards import damaged, frozen_damage, named
from brulee.training.optim import optimizer_of, set_learning_rate
from brulee.training.passes import Passes
from brulee.training.randomness import isolated_rng

# The weight of earlier losses in the smoothed loss.
_MEMORY = 0.8
# The test ends when a loss is this many times the lowest smoothed one.
_TOO_HIGH = 2.0
# Adam's rates beyond these are of no use to any method.
_LOWEST, _HIGHEST = 1e-6, 1.0


@dataclass(frozen=True)
class Found:
    """The rates tried, the smoothed loss at each, and the suggested rate."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float


def range_test(
    passes: Passes, attached: Attached, document: Documents, spec: TrainSpec, steps: int = 80
) -> Found:
    """Train with a rate that rises from 1e-6 to 1 over `steps` steps; this ruins the weights.

    What has a rate of its own, `spec.embedding_learning_rate`, is trained at that. Raises
    BruleeError if the loss never falls, or is not finite at the lowest rate; InputError if nothing
    else is trained.
    """
    groups, of_tokens = attached.groups(), attached.of_tokens()
    parameters = [p for group in groups for p in group.parameters]
    optimizer = optimizer_of(spec, groups, _LOWEST, of_tokens)
    steady = _of_a_rate_of_their_own(optimizer, of_tokens, spec)
    passes.base.model.train()
    size = spec.batch_size * spec.accumulation
    losses: list[float] = []
    with (
        bar("Trying rates", total=steps, unit="steps") as progress,
        passes.boundary(),
        isolated_rng(passes.base.device),
    ):
        torch.manual_seed(spec.seed)
        for step in range(steps):
            rate = set_learning_rate(optimizer, (_HIGHEST / _LOWEST) ** (step / (steps - 1)))
            for group in steady:
                group["lr"] = group["base_lr"]
            wanted = range(step * size, (step + 1) * size)
            loss, _ = passes.backward([document(i).encoded for i in wanted])
            torch.nn.utils.clip_grad_norm_(parameters, spec.max_grad_norm or math.inf)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.item())
            if not math.isfinite(losses[0]):
                raise _unusable(passes.base.model, losses[0], [document(i).row for i in wanted])
            progress.advance(1, loss=f"{losses[-1]:.3f}", rate=f"{rate:.1e}")
            if not losses[-1] < _TOO_HIGH * min(smoothed(losses)):
                break
    passes.base.model.eval()
    rates = [_LOWEST * (_HIGHEST / _LOWEST) ** (i / (steps - 1)) for i in range(len(losses))]
    finite = [(r, x) for r, x in zip(rates, losses, strict=True) if math.isfinite(x)]
    return suggest([r for r, _ in finite], smoothed([x for _, x in finite]))


def _of_a_rate_of_their_own(
    optimizer: Optimizer, of_tokens: Sequence[nn.Parameter], spec: TrainSpec
) -> list[dict[str, Any]]:
    """The groups that train at `spec.embedding_learning_rate`; InputError if all do."""
    if spec.embedding_learning_rate is None:
        return []
    own = {id(p) for p in of_tokens}
    found = [group for group in optimizer.param_groups if id(group["params"][0]) in own]
    if len(found) == len(optimizer.param_groups):
        raise InputError(
            "train.embedding_learning_rate: it is the rate of all that is trained; leave it out to "
            "find one."
        )
    return found


def _unusable(model: torch.nn.Module, loss: float, rows: Sequence[str]) -> BruleeError:
    """The error for a loss that is not finite before anything was trained."""
    what = f"the loss is {loss} before any training"
    if (name := frozen_damage(model)) is not None:
        return BruleeError(f"{what}; {damaged(name)}")
    return BruleeError(f"{what}; look at its rows: {named(rows)}; or try train.precision=float32.")


def smoothed(losses: Sequence[float]) -> list[float]:
    """The bias-corrected exponential moving average at each step."""
    found, mean = [], 0.0
    for count, loss in enumerate(losses, 1):
        mean = _MEMORY * mean + (1 - _MEMORY) * loss
        found.append(mean / (1 - _MEMORY**count))
    return found


def suggest(rates: Sequence[float], losses: Sequence[float]) -> Found:
    """The rate of the steepest fall before the lowest loss, measured over five steps.

    Raises BruleeError if the loss never falls.
    """
    lowest = min(range(len(losses)), key=lambda i: losses[i])
    falls = {i: losses[i + 2] - losses[i - 2] for i in range(2, min(lowest + 1, len(losses) - 2))}
    if not falls or min(falls.values()) >= 0:
        raise BruleeError(
            "no learning rate lowered the loss; raise train.batch_size, so that it is less noisy, "
            "or look at the rows."
        )
    steepest = min(falls, key=lambda i: falls[i])
    return Found(tuple(rates), tuple(losses), rates[steepest])
