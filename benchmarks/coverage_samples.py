"""Simulated tests: items drawn from a population, and what is computed of them.

Shape legend: `M` items of a population, `G` items of a group, `S` statistics of one item.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from coverage_intervals import Rng

from brulee.evaluation.averages import Part, average, average_change
from brulee.evaluation.base import Array
from brulee.evaluation.resampling import Reduce, units
from brulee.evaluation.scores import by_chance
from brulee.evaluation.shares import is_share
from brulee.evaluation.stats import added, compare, interval, randomisation, resampled

Join = Callable[[Array], Array]


@dataclass(frozen=True)
class Sample:
    """One test: intervals of both scores and of their difference, and p."""

    before: tuple[float, float, float]  # value, low, high
    after: tuple[float, float, float]
    change: tuple[float, float, float]
    p: float
    detectable: float | None = None


@dataclass(frozen=True)
class Pairs:
    """A population of items before and after (M, S), or of groups of them (M, G, S)."""

    base: Array
    tuned: Array
    reduce: Reduce
    join: Join = lambda stats_NS: stats_NS
    chance: Callable[[Array, int], Array] | None = None  # scores by chance alone, as of HELM's bias

    def truth(self) -> tuple[float, float]:
        """Both scores of the whole population."""
        sides = (self.join(_flat(side)) for side in (self.base, self.tuned))
        before, after = (float(self.reduce(s.mean(0), 1e9)) for s in sides)
        return before, after

    def sample(self, rng: Rng, items: int, resamples: int) -> Sample:
        """A test of so many items, or groups."""
        at = rng.integers(len(self.base), size=items)
        of = np.repeat(np.arange(items), self.base.shape[1]) if self.base.ndim == 3 else None
        base, tuned = (self.join(_flat(side[at])) for side in (self.base, self.tuned))
        before, after = (self._interval(side, resamples, of) for side in (base, tuned))
        found = compare(base, tuned, self.reduce, resamples, clusters=of)
        change = (found.difference, found.low, found.high)
        return Sample(before, after, change, found.p, found.minimum_detectable)

    def _interval(self, stats_NS: Array, resamples: int, of: Any) -> tuple[float, float, float]:
        value, low, high, _ = interval(stats_NS, self.reduce, resamples, clusters=of)
        if self.chance is not None and by_chance(value, self.chance(stats_NS, resamples)):
            low = 0.0
        return value, low, high


def _flat(side: Array) -> Array:
    return side.reshape(-1, side.shape[-1])


def unchanged(found: Pairs, turned: Callable[[Array], Array] = lambda side: side) -> Pairs:
    """The same items, half of them with sides exchanged, so that both sides score alike.

    `turned` turns an item into one that counts as much for the other side: with labels exchanged,
    or numbers negated. The sides then err on different items, and are alike in score alone.
    """
    base = np.concatenate([found.base, turned(found.tuned)])
    return replace(found, base=base, tuned=np.concatenate([found.tuned, turned(found.base)]))


@dataclass(frozen=True)
class Tasks:
    """The mean over several tasks, each with its own items and score."""

    tasks: tuple[Pairs, ...]

    def truth(self) -> tuple[float, float]:
        before, after = np.mean([task.truth() for task in self.tasks], axis=0)
        return float(before), float(after)

    def sample(self, rng: Rng, items: int, resamples: int) -> Sample:
        """A test with so many items of each task; as `scores.mean` and `pipeline.forgetting` do."""
        sides: tuple[list[Part], list[Part]] = ([], [])
        changes, adds, moved = [], [], []
        for seed, task in enumerate(self.tasks):
            at = rng.integers(len(task.base), size=items)
            stats = [task.join(_flat(side[at])) for side in (task.base, task.tuned)]
            drawn = [resampled(s, task.reduce, resamples, seed) for s in stats]
            for parts, own, own_B in zip(sides, stats, drawn, strict=True):
                one = interval(own, task.reduce, resamples, seed)
                share = is_share(task.reduce, own)
                parts.append(Part(one.value, one.low, one.high, own_B, items, share))
            found = compare(stats[0], stats[1], task.reduce, resamples, seed)
            share = is_share(task.reduce, *stats)
            changes.append(
                Part(found.difference, found.low, found.high, drawn[1] - drawn[0], items, share)
            )
            adds.append(np.subtract(*(added(units(s, None), task.reduce) for s in stats[::-1])))
            moved.append((found.wins / items, found.losses / items))
        shares = all(part.share for part in changes)
        gained, lost = np.mean(moved, axis=0)
        bounds = average_change(changes, gained, lost) if shares else average(changes)
        values = [float(np.mean([p.value for p in parts])) for parts in (*sides, changes)]
        p = randomisation(np.concatenate(adds) / len(adds), resamples)
        return Sample(
            (values[0], *average(sides[0])),
            (values[1], *average(sides[1])),
            (values[2], *bounds),
            p,
        )
