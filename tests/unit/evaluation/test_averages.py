"""An average knows no more than its parts, and no less than they do together."""

from __future__ import annotations

import numpy as np
import pytest

from brulee.evaluation.averages import Part, average
from brulee.evaluation.base import Array
from brulee.evaluation.stats import interval, limits, resampled


def mean(mean_S: Array, _items: float | Array) -> Array:
    return mean_S[..., 0]


def part(values: Array, share: bool, seed: int = 0) -> Part:
    found = interval(values[:, None], mean)
    drawn = resampled(values[:, None], mean, seed=seed)
    possible = limits(mean, values[:, None])
    return Part(found.value, found.low, found.high, drawn, len(values), share, possible)


def right(count: int, of: int) -> Array:
    return np.array([1.0] * count + [0.0] * (of - count))


def test_an_average_of_one_is_that_one() -> None:
    one = part(right(3, 9), True)
    assert average([one]) == (one.low, one.high)


@pytest.mark.parametrize(("units", "bounds"), [(5, (0.45, 0.56)), (1, (0.0, 1.0))])
def test_an_average_of_few_units_is_no_less_sure_than_its_parts_if_all_err_alike(
    units: int, bounds: tuple[float, float]
) -> None:
    drawn = np.random.default_rng(0).normal(0.5, 0.3, 500)
    parts = [
        Part(value, low, high, drawn, units, False, (0.0, 1.0))
        for value, low, high in ((0.1, 0.05, 0.16), (0.9, 0.85, 0.96))
    ]
    assert average(parts) == pytest.approx(bounds)


def test_many_large_parts_agree_with_the_normal_approximation() -> None:
    counts = [110, 140, 60, 170, 90]
    low, high = average([part(right(c, 200), True, i) for i, c in enumerate(counts)])
    half = 1.96 * np.sqrt(sum(c / 200 * (1 - c / 200) / 200 for c in counts)) / 5
    assert (low, high) == pytest.approx((0.57 - half, 0.57 + half), abs=0.004)


def test_tasks_of_one_question_each_are_not_sure_of_their_mean() -> None:
    """Resampled task by task, one question is always drawn again: 0.60 to 0.60."""
    low, high = average([part(right(i % 5 < 3, 1), True) for i in range(20)])
    assert low < 0.42
    assert high > 0.75


@pytest.mark.parametrize("share", [True, False])
def test_tasks_without_a_wrong_answer_may_have_one(share: bool) -> None:
    low, high = average([part(right(4, 4), share) for _ in range(5)])
    assert low < 0.85
    assert high == 1.0


@pytest.mark.parametrize("share", [True, False])
def test_opposite_tasks_of_few_items_are_not_sure_of_their_mean(share: bool) -> None:
    low, high = average([part(right(4, 4), share), part(right(0, 4), share)])
    assert low < 0.35
    assert high > 0.65


def test_a_task_of_one_question_varies_as_an_item_of_the_others_does() -> None:
    """Not as the mean of their hundred: it would be taken for ten times as sure."""
    rng = np.random.default_rng(5)
    low, high = average([part(rng.random(n), False, n) for n in (100, 120, 1)])
    spread = np.sqrt(1 / 12) / 3  # of one uniform value, a third of the average
    assert high - low == pytest.approx(2 * 1.97 * spread * np.sqrt(1 + 1 / 55), rel=0.1)


def test_parts_weigh_as_they_are_told() -> None:
    steady, wild = part(right(150, 300), True), part(right(2, 4), True)
    even, leaning = average([steady, wild]), average([steady, wild], [300, 4])
    assert leaning[1] - leaning[0] < even[1] - even[0]
    assert leaning == pytest.approx(average([steady, wild], [3.0, 0.04]))


def test_bounds_are_no_further_apart_than_if_all_erred_together() -> None:
    rng = np.random.default_rng(0)
    parts = [part(rng.random(3), False, seed) for seed in range(2)]
    low, high = average(parts)
    assert low >= np.mean([p.low for p in parts])
    assert high <= np.mean([p.high for p in parts])


@pytest.mark.parametrize("high", [1.0, 1.2])
def test_an_average_with_a_single_item_is_within_what_is_possible(high: float) -> None:
    """F1 is not above 1; of a score that an item has above 1, no limit is known."""
    values = [np.array([0.97]), np.array([high, *[0.9] * 4, 0.2])]
    _, most = average([part(v, False) for v in values])
    assert most == 1.0 if high == 1.0 else most > 1.1


def test_an_average_knows_of_its_parts_what_no_item_showed() -> None:
    """Resampling a part that is alike on all items shows no variance."""
    rng = np.random.default_rng(2)
    varied, alike = part(rng.random(20), False), part(np.full(20, 0.5), False)
    low, high = average([varied, alike])
    value = (varied.value + 0.5) / 2
    assert value - low == pytest.approx(np.hypot(varied.value - varied.low, 0.5 - alike.low) / 2)
    assert high - value == pytest.approx(np.hypot(varied.high - varied.value, alike.high - 0.5) / 2)
