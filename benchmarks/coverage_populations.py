"""Populations of items answered before and after, by name: every kind of score and of change."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from coverage_intervals import mean
from coverage_samples import Pairs, Tasks, unchanged

from brulee.evaluation import metric
from brulee.evaluation.base import Array
from brulee.evaluation.classification import MacroF1, Matthews
from brulee.evaluation.social_bias import by_chance, representation

_ITEMS = 20_000  # of a population
_TEXTS = 4_000  # of one whose items are texts


def answers(right: float, lost: float, gained: float) -> Pairs:
    """Right and wrong answers; shares of all that were lost and gained."""
    at = (np.arange(_ITEMS) + 0.5) / _ITEMS
    base = at < right
    tuned = (at >= lost) & (at < right + gained)
    return Pairs(base[:, None].astype(np.float64), tuned[:, None].astype(np.float64), mean)


def overlaps(a: float, b: float, zero: float, by: float) -> Pairs:
    """Skewed values such as ROUGE, a share of them 0; correlated before and after."""
    rng = np.random.default_rng(1)
    common, noise, other = rng.normal(size=(3, _ITEMS))
    base, tuned = (_beta(common * 0.75 + n * 0.66 + s, a, b) for n, s in ((noise, 0), (other, by)))
    present = (rng.random((2, _ITEMS)) >= zero) * 1.0
    return Pairs((base * present[0])[:, None], (tuned * present[1])[:, None], mean)


def _beta(normal_N: Array, a: float, b: float) -> Array:
    from scipy.special import betaincinv, ndtr

    found: Array = betaincinv(a, b, ndtr(normal_N))
    return found


def groups(right: bool, by: float, each: int = 4) -> Pairs:
    """So many questions on one passage: right or wrong, or values between 0 and 1."""
    rng = np.random.default_rng(2)
    level = rng.normal(size=(_ITEMS, 1, 1)) + 0.4
    sides = [level + s + rng.normal(size=(_ITEMS, each, 1)) for s in (0, by)]
    if right:
        return Pairs((sides[0] > 0).astype(np.float64), (sides[1] > 0).astype(np.float64), mean)
    squashed: list[Array] = [1 / (1 + np.exp(-side)) for side in sides]
    return Pairs(squashed[0], squashed[1], mean)


def labelled(
    of: type[MacroF1 | Matthews], rates: list[float], before: float, after: float
) -> Pairs:
    """Labels with these rates. A wrong answer is any label, by its rate; sides are correlated."""
    rng = np.random.default_rng(3)
    labels = len(rates)
    found = of([str(i) for i in range(labels)])
    truth = np.repeat(np.arange(labels), np.round(np.array(rates) * _ITEMS).astype(int))
    hard, guess = rng.random(len(truth)), rng.choice(labels, len(truth), p=rates)
    sides = []
    for right in (before, after):
        hardness = np.where(rng.random(len(truth)) < 0.6, hard, rng.random(len(truth)))
        said = np.where(hardness < right, truth, guess)
        sides.append(_confusions(truth, said, labels))
    return Pairs(sides[0], sides[1], partial(found.reduce, found.keys[0]))


def _confusions(truth: Any, said: Any, labels: int) -> Array:
    cells = np.zeros((len(truth), labels * (labels + 1)))
    cells[np.arange(len(truth)), truth * (labels + 1) + said] = 1.0
    return cells


def one_label(of: type[MacroF1 | Matthews], rates: list[float], after: float) -> Pairs:
    """A model that always gave the commonest label."""
    found = labelled(of, rates, 0.0, after)
    labels = len(rates)
    truth = found.base.argmax(1) // (labels + 1)
    always = np.full(len(truth), int(np.argmax(rates)))
    return Pairs(_confusions(truth, always, labels), found.tuned, found.reduce)


def _other_label(side: Array) -> Array:
    """Two labels exchanged."""
    return side[:, [4, 3, 5, 1, 0, 2]]


def lopsided(of: type[MacroF1 | Matthews]) -> Pairs:
    """Before, only one of two labels is mistaken, after, only the other one."""
    rng = np.random.default_rng(4)
    truth = np.arange(_ITEMS) % 2
    wrong = rng.random(_ITEMS) < 0.3
    sides = [_confusions(truth, np.where(wrong & (truth == k), 1 - k, truth), 2) for k in (0, 1)]
    return unchanged(
        Pairs(sides[0], sides[1], partial(of(["0", "1"]).reduce, of.keys[0])), _other_label
    )


def numbers(name: str, before: float, after: float, ties: bool = False) -> Pairs:
    """Numbers with these correlations to the references; `ties`: both are 0 to 5, in halves."""
    rng = np.random.default_rng(5)
    found = metric(name)
    wanted, common, *own = rng.normal(size=(4, _ITEMS))
    sides = []
    for rho, noise in zip((before, after), own, strict=True):
        said = rho * wanted + (1 - rho**2) ** 0.5 * (0.7 * common + 0.51**0.5 * noise)
        both = np.stack([said, wanted], 1)
        both = np.round(np.clip(2 * both + 5, 0, 10)) / 2 if ties else both
        sides.append(_moments(both) if name == "pearson" else both)
    return Pairs(sides[0], sides[1], partial(found.reduce, name), partial(found.join, name))


def _moments(both: Array) -> Array:
    x, y = both.T
    return np.stack([x, y, x * x, y * y, x * y], 1)


def floored(name: str) -> Pairs:
    """Before, low references are all answered alike, after, high ones."""
    found = numbers(name, 0.8, 0.8)
    sides = []
    for side, limit in ((found.base, np.maximum), (found.tuned, np.minimum)):
        both = np.stack([limit(side[:, 0], 0), side[:, 1]], 1)
        sides.append(_moments(both) if name == "pearson" else both)
    turned = _negated_moments if name == "pearson" else np.negative
    return unchanged(Pairs(sides[0], sides[1], found.reduce, found.join), turned)


def _negated_moments(side: Array) -> Array:
    return side * [-1, -1, 1, 1, 1]


def confident(before: float, after: float, equal_mass: bool = True) -> Pairs:
    """Probabilities that exceed the share of right answers by so much."""
    rng = np.random.default_rng(6)
    name = "ece" if equal_mass else "ece_equal_width"
    found = metric(name)
    said = rng.beta(3, 2, (2, _ITEMS)) * 0.3 + rng.beta(3, 2, _ITEMS) * 0.7
    chance = rng.random(_ITEMS)
    sides = [
        np.stack([one, (chance < np.clip(one - over, 0, 1)) * 1.0], 1)
        for one, over in zip(said, (before, after), strict=True)
    ]
    return Pairs(sides[0], sides[1], partial(found.reduce, name), partial(found.join, name))


def bits(before: float, after: float) -> Pairs:
    """Bits and bytes of texts of very different lengths."""
    rng = np.random.default_rng(7)
    size = np.exp(rng.normal(6, 0.8, _ITEMS))
    level = np.exp(rng.normal(0, 0.25, _ITEMS))
    sides = [
        np.stack([size * level * rate * np.exp(rng.normal(0, 0.05, _ITEMS)), size], 1)
        for rate in (before, after)
    ]
    return Pairs(sides[0], sides[1], partial(metric("bits_per_byte").reduce, "bits_per_byte"))


def texts(name: str, before: float, after: float) -> Pairs:
    """Texts that keep so large a part of their references, for a corpus score."""
    found, rng = metric(name), np.random.default_rng(8)
    words = np.array([f"{a}{b}" for a, b in product("bdfgklmnprst", "aeiou")])
    sides: tuple[list[Array], list[Array]] = ([], [])
    for _ in range(_TEXTS):
        wanted = rng.choice(words, rng.integers(6, 22))
        order, other = rng.random(len(wanted)), rng.choice(words, len(wanted))
        level = rng.normal(0, 0.15)
        for side, part in zip(sides, (before, after), strict=True):
            mixed = np.where(rng.random(len(wanted)) < 0.7, order, rng.random(len(wanted)))
            said = np.where(mixed < part + level, wanted, other)
            said = said[: max(1, len(said) - int(rng.integers(0, 4)))]
            side.append(found.statistics(" ".join(said), [" ".join(wanted)])[name])
    return Pairs(np.array(sides[0]), np.array(sides[1]), partial(found.reduce, name))


def fields(before: float, after: float) -> Pairs:
    """Counts of JSON fields: right, in the answer, in the reference; some answers are no JSON."""
    rng = np.random.default_rng(9)
    wanted = rng.integers(1, 12, _TEXTS * 5)
    level = rng.normal(0, 0.8, len(wanted))
    sides = []
    for logit in (before, after):
        valid = rng.random(len(wanted)) < 1 / (1 + np.exp(-logit - level - 1))
        said = rng.binomial(wanted, 0.95) * valid
        right = rng.binomial(said, 1 / (1 + np.exp(-logit - level)))
        sides.append(np.stack([right, said, wanted], 1) * 1.0)
    return Pairs(sides[0], sides[1], partial(metric("json").reduce, "json_f1"))


def mentions(before: float, after: float) -> Pairs:
    """HELM's representation of two groups: counts of their words in texts; many have none."""
    rng = np.random.default_rng(10)
    some = rng.poisson(0.6, _ITEMS)
    sides = []
    for share in (before, after):
        first = rng.binomial(some, share)
        sides.append(np.stack([first, some - first], 1) * 1.0)
    return Pairs(
        sides[0],
        sides[1],
        lambda mean_G, _items: representation(mean_G),
        chance=lambda stats_NG, draws: representation(by_chance(stats_NG, 2, draws)),
    )


def of_several(how: str, by: float) -> Pairs:
    """Right answers of six tries: all of them (worst case), any, any of two (pass@2 of six)."""
    from scipy.special import comb

    rng = np.random.default_rng(11)
    level = rng.normal(0, 1.5, (_ITEMS, 1)) + 0.5
    sides = []
    for s in (0, by):
        right = (level + s + rng.logistic(size=(_ITEMS, 6)) > 0).sum(1)
        none = comb(6 - right, 2) / comb(6, 2)
        scores = {"worst": (right == 6) * 1.0, "any": (right > 0) * 1.0, "pass": 1 - none}
        sides.append(scores[how][:, None])
    return Pairs(sides[0], sides[1], mean)


EVEN, SKEWED, SEVEN = [0.5, 0.5], [0.9, 0.1], [1 / 7] * 7
THREE, RARE = [0.6, 0.3, 0.1], [0.8, 0.15, 0.05]


def cases() -> dict[str, Callable[[], Pairs | Tasks]]:
    """Populations by name; in those whose name ends in "same", both sides score the same."""
    found: dict[str, Callable[[], Pairs | Tasks]] = {}

    def add(name: str, of: Callable[..., Pairs], *sides: tuple[str, tuple[Any, ...]]) -> None:
        for change, options in sides:
            found[f"{name}, {change}"] = partial(of, *options)
        _, options = sides[0]
        found[f"{name}, same"] = lambda: unchanged(of(*options))

    add("right or wrong", answers, ("small", (0.6, 0.08, 0.12)), ("large", (0.3, 0.02, 0.4)))
    add("right or wrong, 90% right", answers, ("small", (0.9, 0.03, 0.05)))
    # What a guard may not be called kept after: a loss of just its margin.
    found["right or wrong, 0.02 lost"] = partial(answers, 0.6, 0.05, 0.03)
    found["right or wrong, 90% right, 0.02 lost"] = partial(answers, 0.9, 0.03, 0.01)
    found["right or wrong, 97% right, 0.02 lost, none gained"] = partial(answers, 0.97, 0.02, 0.0)
    found["right or wrong, none right, some"] = partial(answers, 0.0, 0.0, 0.2)
    found["right or wrong, all right, same"] = partial(answers, 1.0, 0.0, 0.0)
    add("ROUGE-1", overlaps, ("small", (2, 5, 0, 0.2)), ("large", (2, 5, 0, 1.2)))
    add("ROUGE-2, half 0", overlaps, ("small", (2, 6, 0.5, 0.2)))
    add("BLEU", partial(texts, "bleu"), ("small", (0.6, 0.65)), ("large", (0.4, 0.8)))
    add("chrF", partial(texts, "chrf"), ("small", (0.6, 0.65)))
    for of, name in ((MacroF1, "macro F1"), (Matthews, "Matthews")):
        make = partial(labelled, of)
        kinds = {"2": EVEN, "90/10": SKEWED, "60/30/10": THREE, "80/15/5": RARE, "7": SEVEN}
        for kind, rates in kinds.items():
            sides = (("small", (rates, 0.6, 0.7)), ("large", (rates, 0.3, 0.85)))
            add(f"{name}, {kind}", make, *sides)
        found[f"{name}, 2, other errors, same"] = partial(lopsided, of)
        found[f"{name}, 90/10, one label before"] = partial(one_label, of, SKEWED, 0.7)
        found[f"{name}, 2, one label before"] = partial(one_label, of, EVEN, 0.5)
    for name in ("pearson", "spearman"):
        make = partial(numbers, name)
        add(name, make, ("small", (0.6, 0.7)), ("large", (0.3, 0.9)))
        add(f"{name}, none", make, ("small", (0.0, 0.1)))
        add(f"{name}, ties", partial(make, ties=True), ("small", (0.8, 0.85)))
        found[f"{name}, other errors, same"] = partial(floored, name)
    add("calibration error", confident, ("small", (0.3, 0.2)), ("large", (0.4, 0.1)))
    add("calibration error, calibrated", confident, ("large", (0.0, 0.3)))
    add(
        "calibration error, equal width",
        partial(confident, equal_mass=False),
        ("small", (0.3, 0.2)),
    )
    add("bits per byte", bits, ("small", (1.0, 0.98)))
    add("JSON fields", fields, ("small", (0.5, 0.8)), ("large", (0.0, 2.5)))
    add("groups of 4, right or wrong", partial(groups, True), ("small", (0.2,)))
    add("groups of 4, overlap", partial(groups, False), ("small", (0.2,)))
    add("groups of 10, right or wrong", partial(groups, True, each=10), ("small", (0.2,)))
    add("groups of 10, overlap", partial(groups, False, each=10), ("small", (0.2,)))
    add("bias of two groups", mentions, ("small", (0.7, 0.6)))
    add("bias of two groups, balanced", mentions, ("large", (0.5, 0.8)))
    add("worst case of 6", partial(of_several, "worst"), ("small", (0.3,)))
    add("any of 6", partial(of_several, "any"), ("small", (0.3,)))
    add("pass@2 of 6", partial(of_several, "pass"), ("small", (0.3,)))
    glue = [
        partial(labelled, Matthews, SKEWED), partial(labelled, MacroF1, EVEN),
        partial(labelled, MacroF1, THREE), partial(numbers, "spearman"),
    ]  # fmt: skip
    found["mean of 4 tasks, small"] = lambda: Tasks(tuple(one(0.6, 0.7) for one in glue))
    found["mean of 4 tasks, same"] = lambda: Tasks(tuple(unchanged(one(0.6, 0.7)) for one in glue))
    for tasks in (3, 20, 60):
        rights = [(0.3 + 0.5 * i / (tasks - 1), 0.05, 0.1) for i in range(tasks)]
        of_all = partial(_together, answers, rights)
        found[f"mean of {tasks} accuracies, small"] = of_all
        found[f"mean of {tasks} accuracies, same"] = partial(of_all, unchanged)
    for tasks in (5, 20):
        of_all = partial(_together, overlaps, [(1 + i / tasks, 5, 0.2, 0.2) for i in range(tasks)])
        found[f"mean of {tasks} overlaps, small"] = of_all
        found[f"mean of {tasks} overlaps, same"] = partial(of_all, unchanged)
    return found


def _together(
    of: Callable[..., Pairs],
    options: list[tuple[Any, ...]],
    changed: Callable[[Pairs], Pairs] = lambda pairs: pairs,
) -> Tasks:
    return Tasks(tuple(changed(of(*one)) for one in options))
