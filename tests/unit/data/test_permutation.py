"""The shuffle without a table: a bijection, every order as likely, the same on every machine."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import factorial

import pytest
from scipy.stats import chisquare

from brulee.data.permutation import Permutation, key_of


def order(size: int, number: int, secret: int = 12_345) -> tuple[int, ...]:
    permutation, key = Permutation(size), key_of(secret, number)
    return tuple(permutation.at(position, key) for position in range(size))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 63, 64, 65, 99, 100, 101, 4_097])
def test_every_position_is_taken_once(size: int) -> None:
    for number in range(5):
        assert sorted(order(size, number)) == list(range(size))


@pytest.mark.parametrize("size", [2, 3, 4])
def test_every_order_of_a_few_is_as_likely(size: int) -> None:
    seen = Counter(order(size, number) for number in range(50 * factorial(size)))
    assert len(seen) == factorial(size)
    assert chisquare(list(seen.values())).pvalue > 0.001


def test_every_position_is_as_likely_for_every_row_past_the_smallest_grid() -> None:
    orders = [order(70, number) for number in range(350)]
    seen = Counter((place, row) for drawn in orders for place, row in enumerate(drawn))
    assert chisquare([seen[p, r] for p in range(70) for r in range(70)]).pvalue > 0.001


def test_neighbours_do_not_stay_neighbours() -> None:
    assert sum(abs(a - b) == 1 for a, b in pairwise(order(2_000, 0))) < 12


def test_other_numbers_and_secrets_give_other_orders() -> None:
    assert len({order(50, number, secret) for number in range(4) for secret in (1, 2)}) == 8


def test_an_order_written_down_once_stays_as_it_was() -> None:
    assert order(10, 0) == (7, 8, 6, 1, 5, 9, 3, 4, 2, 0)


def test_no_positions_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one position"):
        Permutation(0)
