"""The schedule of parts: exact shares each period, ranks without gaps, no part bunched up."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from brulee.data.schedule import Schedule, apportion

SHARES = [0.40, 0.32, 0.20, 0.05, 0.03]


def test_shares_of_a_whole_period_are_exact() -> None:
    schedule = Schedule(SHARES, seed=0, period=1_000)
    assert schedule.slots == [400, 320, 200, 50, 30]
    drawn = [schedule.at(i)[0] for i in range(3_000)]
    for start in (0, 1_000, 2_000, 777, 1_999):
        window = drawn[start : start + 1_000]
        assert [window.count(part) for part in range(5)] == [400, 320, 200, 50, 30]


def test_a_part_counts_its_draws_in_order_without_a_gap() -> None:
    schedule = Schedule(SHARES, seed=3, period=1_000)
    ranks: dict[int, list[int]] = {}
    for i in range(2_500):
        part, rank = schedule.at(i)
        ranks.setdefault(part, []).append(rank)
    assert all(seen == list(range(len(seen))) for seen in ranks.values())


def test_counts_are_those_of_drawing() -> None:
    schedule = Schedule(SHARES, seed=1, period=1_000)
    for draws in (0, 1, 640, 1_000, 2_357):
        drawn = [schedule.at(i)[0] for i in range(draws)]
        assert schedule.counts(draws) == [drawn.count(part) for part in range(5)]


def test_any_stretch_keeps_the_shares_closer_than_chance_would() -> None:
    schedule = Schedule(SHARES, seed=2, period=10_000)
    part_N = np.array([schedule.at(i)[0] for i in range(10_000)])
    missed = [
        np.abs(np.cumsum(part_N == p) - s * np.arange(1, 10_001)) for p, s in enumerate(SHARES)
    ]
    assert max(m.max() for m in missed) < 4
    at_random = np.random.default_rng(0).random(10_000) < SHARES[0]
    assert np.abs(np.cumsum(at_random) - SHARES[0] * np.arange(1, 10_001)).max() > 20


def test_the_order_of_parts_is_not_regular() -> None:
    schedule = Schedule([0.5, 0.5], seed=0, period=1_000)
    drawn = [schedule.at(i)[0] for i in range(1_000)]
    again = sum(a == b for a, b in pairwise(drawn))
    assert 200 < again < 600


def test_seeds_have_orders_of_their_own() -> None:
    def parts(seed: int) -> list[int]:
        schedule = Schedule(SHARES, seed, period=1_000)
        return [schedule.at(i)[0] for i in range(100)]

    assert parts(0) == parts(0)
    assert parts(0) != parts(1)


def test_an_order_written_down_once_stays_as_it_was() -> None:
    schedule = Schedule(SHARES, seed=0, period=1_000)
    assert [schedule.at(i)[0] for i in range(12)] == [0, 1, 0, 1, 2, 0, 1, 2, 0, 2, 0, 1]


@pytest.mark.parametrize(
    ("shares", "seats", "slots"),
    [
        ([1.0], 10, [10]),
        ([1 / 3, 1 / 3, 1 / 3], 10, [4, 3, 3]),
        ([0.47, 0.33, 0.20], 10, [5, 3, 2]),
        ([0.999_98, 0.000_01, 0.000_01], 100, [98, 1, 1]),
        ([0.29, 0.71], 1_000_000, [290_000, 710_000]),
    ],
)
def test_slots_are_the_largest_remainders(
    shares: list[float], seats: int, slots: list[int]
) -> None:
    assert apportion(shares, seats).tolist() == slots


def test_rare_parts_get_one_slot_beside_any_others() -> None:
    shares = np.array([1e-9] * 1_000 + [1.0] * 1_000)
    slots = apportion((shares / shares.sum()).tolist(), 128_000)
    assert slots.sum() == 128_000
    assert set(slots[:1_000]) == {1}
    assert set(slots[1_000:]) == {127}


def test_many_parts_lengthen_the_period() -> None:
    assert Schedule([0.01] * 100, seed=0, period=10).period == 6_400
