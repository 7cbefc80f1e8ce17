"""What a paired test can detect: its power, by simulation and in the known limits."""

from __future__ import annotations

import numpy as np
import pytest

from brulee.evaluation import detectable
from brulee.evaluation.shares import paired_error
from brulee.evaluation.stats import mcnemar


@pytest.mark.parametrize(
    ("items", "differing", "difference"), [(20, 0.3, 0.3), (50, 0.3, 0.2), (100, 0.2, 0.12)]
)
def test_the_power_is_that_of_the_test(items: int, differing: float, difference: float) -> None:
    rng = np.random.default_rng(items)
    up = (differing + difference) / 2
    found = 0
    for _ in range(600):
        change = rng.choice((1, -1, 0), size=items, p=(up, differing - up, 1 - differing))
        gained = int((change > 0).sum()) > int((change < 0).sum())
        found += gained and mcnemar(change < 0, change > 0) < 0.05
    assert detectable.power(difference, differing, items) == pytest.approx(found / 600, abs=0.05)


@pytest.mark.parametrize(
    ("gained", "lost", "items"),
    [(0, 0, 50), (2, 3, 20), (10, 12, 100), (90, 40, 1000), (30, 10, 20_000), (0, 1, 200_000)],
)
def test_what_is_detectable_is_found_in_four_cases_of_five(
    gained: int, lost: int, items: int
) -> None:
    found = detectable.of_share(gained, lost, items)
    differing = (gained + lost + 2) / (items + 2)
    assert detectable.power(found, differing, items) == pytest.approx(0.8, abs=0.01)


def test_it_takes_six_items_that_all_change() -> None:
    assert detectable.of_share(0, 0, 5) == 1.0
    assert detectable.power(1.0, 1.0, 5) == 0.0
    assert detectable.power(1.0, 1.0, 6) == 1.0
    assert detectable.of_share(0, 0, 6) == pytest.approx(0.8 ** (1 / 6), abs=1e-3)


def test_of_many_items_the_normal_distribution_says_the_same() -> None:
    found = detectable.of_share(4000, 3500, 50_000)
    assert found == pytest.approx(2.8016 * paired_error(4000, 3500, 50_000), rel=0.01)


def test_few_units_are_measured_by_t() -> None:
    assert detectable.of_mean(0.1, 10) == pytest.approx(0.1 * (2.2622 + 0.8834), abs=1e-4)
    assert detectable.of_mean(0.1, float("inf")) == pytest.approx(0.28016, abs=1e-5)
