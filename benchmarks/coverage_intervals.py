"""Coverage of the 95% intervals of scores and differences, by simulation.

    python benchmarks/coverage_intervals.py [--trials 2000]

Prints a table and writes benchmarks/results/coverage.json. Each trial draws items from a
distribution, or from a population of items, whose true score is known, and computes bounds with
`stats.interval`, `stats.compare` or an average over tasks. For the change of the spread over
phrasings it also counts how often p is below 0.05.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from mixture import machine

from brulee.evaluation import metric
from brulee.evaluation.averages import Part, average
from brulee.evaluation.base import Array
from brulee.evaluation.phrasings import Change, Table
from brulee.evaluation.phrasings import change as spread_change
from brulee.evaluation.stats import compare, interval, resampled

RESULT = Path(__file__).parent / "results" / "coverage.json"
SIZES = (5, 10, 20, 50, 200)
_APART, _CLOSE = np.linspace(-0.8, 1.2, 8).tolist(), np.linspace(1.9, 2.1, 8).tolist()
_OF_ITEM = 1.5  # standard deviation of items' difficulty, in logits
_WHOLE = (_OF_ITEM**2 + 1) ** 0.5  # the same with the unit-variance noise per item and phrasing
Rng = np.random.Generator
Bounds = tuple[float, float]
Case = Callable[[Rng, int, int], tuple[Bounds, float]]  # rng, items, resamples -> bounds, truth


def mean(mean_S: Array, _items: float | Array) -> Array:
    return mean_S[..., 0]


def _of(values: Any, resamples: int, clusters: Any = None) -> Bounds:
    return interval(values, mean, resamples, clusters=clusters)[1:3]


def share(truth: float) -> Case:
    def case(rng: Rng, items: int, resamples: int) -> tuple[Bounds, float]:
        return _of((rng.random((items, 1)) < truth) * 1.0, resamples), truth

    return case


def overlap(a: float, b: float, zero: float = 0.0) -> Case:
    """Skewed values between 0 and 1, like ROUGE, with a share `zero` of them 0."""

    def case(rng: Rng, items: int, resamples: int) -> tuple[Bounds, float]:
        values = rng.beta(a, b, (items, 1)) * (rng.random((items, 1)) >= zero)
        return _of(values, resamples), (1 - zero) * a / (a + b)

    return case


def grouped(right: bool) -> Case:
    """Groups of four correlated items: right or wrong, or values between 0 and 1."""

    def case(rng: Rng, items: int, resamples: int) -> tuple[Bounds, float]:
        groups = np.repeat(np.arange(items), 4)
        level = rng.beta(1.5, 1.5, items)[groups]
        noise = rng.random(len(groups))
        values = (noise < level) * 1.0 if right else 0.7 * level + 0.3 * noise
        return _of(values[:, None], resamples, groups), 0.5

    return case


def _population(seed: int, pairs: int) -> Array:
    """BLEU's statistics of `pairs` pairs, each repeating a part of its reference."""
    bleu, rng, found = metric("bleu"), np.random.default_rng(seed), []
    words = np.array([f"w{i}" for i in range(60)])
    for _ in range(pairs):
        reference = rng.choice(words, rng.integers(8, 25))
        kept = rng.random(len(reference)) < rng.beta(4, 2)
        text = np.where(kept, reference, rng.choice(words, len(reference)))
        found.append(bleu.statistics(" ".join(text), [" ".join(reference)])["bleu"])
    return np.array(found)


def _records(seed: int, answers: int) -> Array:
    """Statistics of JSON answers: some fields wrong or missing, one answer in ten not JSON."""
    of, rng, found = metric("json"), np.random.default_rng(seed), []
    for _ in range(answers):
        wanted = {f"k{i}": int(rng.integers(3)) for i in range(rng.integers(1, 12))}
        right = rng.beta(6, 1 + seed)  # per item, so that its fields are correlated
        said = [k for k in wanted if rng.random() < 0.9]
        kept = {k: wanted[k] if rng.random() < right else 9 for k in said}
        text = json.dumps(kept) if rng.random() < 0.9 else "I cannot say."
        found.append(of.statistics(text, [json.dumps(wanted)])["json_f1"])
    return np.array(found)


class Corpus:
    """A corpus score of items drawn from a population, or the difference of two scores."""

    def __init__(self, name: str, key: str, population: Callable[[int], Array]) -> None:
        self.base, self.tuned = population(0), population(1)
        self.reduce = partial(metric(name).reduce, key)

    def case(self, rng: Rng, items: int, resamples: int) -> tuple[Bounds, float]:
        truth = float(self.reduce(self.base.mean(0), float(items)))
        drawn = self.base[rng.integers(len(self.base), size=items)]
        return interval(drawn, self.reduce, resamples)[1:3], truth

    def paired(self, rng: Rng, items: int, resamples: int) -> tuple[Bounds, float]:
        before, after = (
            float(self.reduce(s.mean(0), float(items))) for s in (self.base, self.tuned)
        )
        at = rng.integers(len(self.base), size=items)
        found = compare(self.base[at], self.tuned[at], self.reduce, resamples)
        return (found.low, found.high), after - before


def calibration(overconfident: float) -> Case:
    """The calibration error, in equal-mass bins, of an overconfident model."""
    found = metric("ece")
    reduce = partial(found.reduce, "ece")

    def drawn(rng: Rng, items: int) -> Array:
        said = rng.beta(3, 2, items)
        right = rng.random(items) < np.clip(said - overconfident, 0, 1)
        return found.join("ece", np.stack([said, right], axis=1))

    # From enough items that no bin's gap is chance; zero for a calibrated model.
    truth = (
        float(reduce(drawn(np.random.default_rng(0), 200_000).mean(0), 2e5))
        if overconfident
        else 0.0
    )

    def case(rng: Rng, items: int, resamples: int) -> tuple[Bounds, float]:
        return interval(drawn(rng, items), reduce, resamples)[1:3], truth

    return case


def answers(lost: float, gained: float) -> Case:
    """Right answers before and after, on the same items."""

    def case(rng: Rng, items: int, resamples: int) -> tuple[Bounds, float]:
        drawn = rng.random((items, 1))
        base = np.where(drawn < lost, 1.0, np.where(drawn < lost + gained, 0.0, drawn > 0.6))
        tuned = np.where(drawn < lost, 0.0, np.where(drawn < lost + gained, 1.0, base))
        found = compare(base, tuned, mean, resamples)
        return (found.low, found.high), gained - lost

    return case


def change(rng: Rng, items: int, resamples: int) -> tuple[Bounds, float]:
    """Values between 0 and 1 before and after, skewed."""
    base = rng.beta(2, 4, (items, 1))
    gained = (rng.random((items, 1)) < 0.5) * rng.beta(2, 4, (items, 1))
    tuned = base + gained * (1 - base)
    truth = 0.5 * (2 / 3) * (1 / 3)
    found = compare(base, tuned, mean, resamples)
    return (found.low, found.high), truth


def subjects(each: int) -> Case:
    """The average over tasks of `each` right or wrong items; `items` counts those of all tasks."""

    def case(rng: Rng, items: int, resamples: int) -> tuple[Bounds, float]:
        rates = np.linspace(0.15, 0.75, max(2, items // each))
        parts = []
        for rate in rates:
            right = (rng.random((each, 1)) < rate) * 1.0
            scores_B = resampled(right, mean, resamples, int(rng.integers(1 << 30)))
            own = interval(right, mean, resamples)
            parts.append(Part(own.value, own.low, own.high, scores_B, each, True))
        return average(parts), float(rates.mean())

    return case


def phrased(before: Sequence[float], after: Sequence[float]) -> Case:
    """Right or wrong answers under phrasings with these logits; items share their difficulty."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def truth(side: Sequence[float]) -> float:
        logits_P1 = np.array(side)[:, None]
        right_P = (weights / (1 + np.exp(-logits_P1 - _WHOLE * nodes))).sum(1)
        return float(right_P.std(ddof=1))

    def case(rng: Rng, items: int, resamples: int) -> tuple[Bounds, float]:
        found = _spread(before, after, rng, items, resamples)
        return (found.low, found.high), truth(after) - truth(before)

    return case


def _spread(
    before: Sequence[float], after: Sequence[float], rng: Rng, items: int, resamples: int
) -> Change:
    hard_N1 = rng.normal(0, _OF_ITEM, (items, 1))
    tables = []
    for side in (before, after):
        logits_NP = hard_N1 + np.array(side) + rng.normal(0, 1, (items, len(side)))
        right_NP = (rng.random(logits_NP.shape) < 1 / (1 + np.exp(-logits_NP))) * 1.0
        means_N1 = right_NP.mean(1, keepdims=True)
        tables.append(Table(means_N1, mean, right_NP, lambda mean_K, _: mean_K))
    return spread_change(tables[0], tables[1], resamples)


def refused(
    before: Sequence[float], after: Sequence[float], items: int, trials: int, resamples: int = 1000
) -> float:
    """The share of trials in which the change of the spread has p < 0.05."""
    rng = np.random.default_rng([1, items])
    found = (_spread(before, after, rng, items, resamples).p < 0.05 for _ in range(trials))
    return sum(found) / trials


@cache
def cases(population: int = 3000) -> dict[str, Case]:
    """All cases by name; corpus scores draw their items from `population` items."""
    corpus = Corpus("bleu", "bleu", partial(_population, pairs=population))
    fields = Corpus("json", "json_f1", partial(_records, answers=population))
    return {
        "right or wrong, 50% right": share(0.5),
        "right or wrong, 90% right": share(0.9),
        "right or wrong, 97% right": share(0.97),
        "overlap such as ROUGE-1": overlap(2, 5),
        "overlap such as ROUGE-2, half of them 0": overlap(2, 6, zero=0.5),
        "right or wrong in groups of 4": grouped(True),
        "overlap in groups of 4": grouped(False),
        "BLEU": corpus.case,
        "difference, right or wrong, 5% lost, 10% gained": answers(0.05, 0.10),
        "difference, right or wrong, 2% lost, 2% gained": answers(0.02, 0.02),
        "difference, overlap": change,
        "difference, BLEU": corpus.paired,
        "F1 of JSON fields": fields.case,
        "difference, F1 of JSON fields": fields.paired,
        "calibration error, calibrated": calibration(0.0),
        "calibration error of 0.38": calibration(0.4),
        "average over tasks of 1": subjects(1),
        "average over tasks of 2": subjects(2),
        "average over tasks of 5": subjects(5),
        "spread over 8 phrasings, before large and after small": phrased(_APART, _CLOSE),
        "spread over 8 phrasings, the same before and after": phrased(_APART, _APART),
        "spread over 8 phrasings, none before or after": phrased([0.5] * 8, [2.0] * 8),
    }


SPREADS = {
    "the same before and after": (_APART, _APART),
    "as large, of phrasings in reverse order": (_APART, _APART[::-1]),
    "none before or after": ([0.5] * 8, [2.0] * 8),
    "large before, small after": (_APART, _CLOSE),
}


def covered(case: Case, items: int, trials: int, resamples: int = 1000, seed: int = 0) -> float:
    """The share of trials whose bounds contain the truth."""
    rng, held = np.random.default_rng([seed, items]), 0
    for _ in range(trials):
        (low, high), truth = case(rng, items, resamples)
        held += low - 1e-9 <= truth <= high + 1e-9
    return held / trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    trials = parser.parse_args().trials
    print("items (or groups)".ljust(50), *(f"{n:>6}" for n in SIZES))
    found = {}
    for name, case in cases().items():
        found[name] = {str(n): round(covered(case, n, trials), 4) for n in SIZES}
        print(name.ljust(50), *(f"{share:6.1%}" for share in found[name].values()), flush=True)
    print("p of the change of the spread below 0.05")
    below = {}
    for name, sides in SPREADS.items():
        below[name] = {str(n): round(refused(*sides, n, trials), 4) for n in SIZES}
        print(name.ljust(50), *(f"{share:6.1%}" for share in below[name].values()), flush=True)
    what = "how often 95% intervals hold the truth"
    result = {"what": what, "trials": trials, "covered": found, "spread_p_below_0.05": below}
    result |= machine()
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
