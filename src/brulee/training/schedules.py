"""The learning rate of every step, as a share of the full one.

A schedule is one entry of SCHEDULES: a function of a step after warm-up and of the recipe's `train`
section. Each falls as the one of its name in transformers, of which wsd is warmup_stable_decay.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from brulee.errors import unknown
from brulee.recipe import TrainSpec

_WITHOUT_WARMUP: Final = 10_000  # steps until an inverse root has fallen to 1 / sqrt(2)


@dataclass(frozen=True)
class Moment:
    """A 0-based `step` of the `total` ones after the `rising` ones of warm-up."""

    step: int
    total: int
    rising: int

    @property
    def gone(self) -> float:
        """The share of the steps that are over."""
        return self.step / self.total


def schedule(spec: TrainSpec, step: int, total: int) -> float:
    """The fraction of the full learning rate at a 0-based step.

    Warm-up is linear over `warmup * total` steps (from 1 on: over `warmup` steps) and ends at 1.
    The rate then decays towards `min_rate`, which it would reach one step after the last, so that
    no step has a rate of zero. Raises InputError for an unknown schedule.
    """
    if spec.schedule not in SCHEDULES:
        raise unknown("schedule", spec.schedule, tuple(SCHEDULES))
    rising = _steps(spec.warmup, total)
    if step < rising:
        return (step + 1) / rising
    left = SCHEDULES[spec.schedule](Moment(step - rising, max(1, total - rising), rising), spec)
    return spec.min_rate + (1.0 - spec.min_rate) * left


def _half_wave(gone: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * gone))


def _cosine(at: Moment, _: TrainSpec) -> float:
    """Half a cosine (Loshchilov and Hutter 2017, "SGDR", without its restarts)."""
    return _half_wave(at.gone)


def _restarts(at: Moment, spec: TrainSpec) -> float:
    """`num_cycles` such halves of equal length (the same, without longer and longer ones)."""
    # In whole numbers: a restart must not be missed by the rounding of a share.
    return _half_wave(at.step * spec.num_cycles % at.total / at.total)


def _linear(at: Moment, _: TrainSpec) -> float:
    return 1.0 - at.gone


def _polynomial(at: Moment, spec: TrainSpec) -> float:
    return float((1.0 - at.gone) ** spec.power)


def _inverse_sqrt(at: Moment, _: TrainSpec) -> float:
    """One over the root of all steps, in lengths of the warm-up (Vaswani et al. 2017).

    The length of the training makes no difference. Without warm-up the length is 10,000 steps.
    """
    length = at.rising or _WITHOUT_WARMUP
    return math.sqrt(length / (length + at.step))


def _constant(_: Moment, __: TrainSpec) -> float:
    return 1.0


def _wsd(at: Moment, spec: TrainSpec) -> float:
    """Constant, then a decay over the last steps.

    Hu et al. 2024, "MiniCPM"; the default shape, 1 - sqrt, is that of Hagele et al. 2024, "Scaling
    Laws and Compute-Optimal Training Beyond Fixed Training Durations".
    """
    falling = min(at.total, _steps(spec.cooldown, at.total))
    fallen = at.step - (at.total - falling)
    return 1.0 if fallen <= 0 else _DECAYS[spec.decay_type](fallen / falling)


# By transformers' names of `decay_type`.
_DECAYS: Final[dict[str, Callable[[float], float]]] = {
    "1-sqrt": lambda gone: 1.0 - math.sqrt(gone),
    "linear": lambda gone: 1.0 - gone,
    "cosine": _half_wave,
}
SCHEDULES: Final[dict[str, Callable[[Moment, TrainSpec], float]]] = {
    "cosine": _cosine,
    "linear": _linear,
    "constant": _constant,
    "wsd": _wsd,
    "cosine_with_restarts": _restarts,
    "polynomial": _polynomial,
    "inverse_sqrt": _inverse_sqrt,
}


def _steps(share: float, total: int) -> int:
    """A number of steps: a fraction of `total`, or from 1 on the number itself."""
    return int(share) if share >= 1 else math.ceil(share * total)
