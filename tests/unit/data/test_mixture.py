"""A mixture of one task: each row once per epoch, orders that differ, templates drawn evenly."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest
from scipy.stats import chisquare

from brulee.data.mixture import Mixture
from brulee.data.parts import Group, Part
from brulee.data.rates import Rates
from brulee.errors import InputError


def _rows(mixture: Mixture, draws: int) -> list[tuple[str, int, int]]:
    found = map(mixture.sample, range(draws))
    return [(draw.part, draw.epoch, draw.row) for draw in found]


def test_rows_in_their_given_order_part_after_part_every_epoch() -> None:
    parts = [Part("a", [9, 3, 5], 1), Part("b", [8, 0, 1, 4, 2], 1, row_cap=2)]
    mixture = Mixture(Group("data", parts), 1, shuffle=False)
    shuffled = Mixture(Group("data", parts), 1)
    epoch = _rows(mixture, 5)
    assert epoch[:3] == [("a", 0, 3), ("a", 0, 5), ("a", 0, 9)]
    # The rows of a cap are those of any order.
    capped = [row for part, _, row in epoch if part == "b"]
    assert capped == sorted(row for part, of, row in _rows(shuffled, 5) if (part, of) == ("b", 0))
    again = [(part, e, row) for e in range(3) for part, _, row in epoch]
    assert _rows(mixture, 15) == again
    assert [mixture.sample(i).row for i in (14, 0, 7)] == [again[i][2] for i in (14, 0, 7)]
    for draws in (1, 3, 4, 5, 9):
        counted = {one.part: one.draws for one in mixture.describe(draws)}
        assert counted == {name: sum(p == name for p, _, _ in again[:draws]) for name in "ab"}


def test_parts_at_other_rates_take_turns_in_their_given_order() -> None:
    parts = [Part("a", range(4), 1), Part("b", range(100, 110), 1)]
    mixture = Mixture(Group("data", parts, Rates("equal")), 1, shuffle=False)
    drawn = _rows(mixture, 40)
    assert [row for part, _, row in drawn if part == "a"][:8] == [*range(4), *range(4)]
    assert [row for part, _, row in drawn if part == "b"][:10] == list(range(100, 110))
    assert {part for part, _, _ in drawn[:8]} == {"a", "b"}


def lone(rows: Sequence[int], templates: int, seed: int) -> Mixture:
    return Mixture(Group("data", [Part("task", rows, templates)]), seed)


@pytest.mark.parametrize("size", [1, 2, 3, 17, 64, 65, 450])
def test_each_epoch_holds_every_row_once(size: int) -> None:
    rows = [i * 7 + 3 for i in range(size)]
    mixture = lone(rows, 3, seed=1)
    for epoch in range(4):
        samples = [mixture.sample(epoch * size + i) for i in range(size)]
        assert sorted(sample.row for sample in samples) == rows
        assert {sample.epoch for sample in samples} == {epoch}


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    def order(seed: int, epoch: int) -> tuple[int, ...]:
        mixture = lone(range(100), 1, seed)
        return tuple(mixture.sample(epoch * 100 + i).row for i in range(100))

    orders = {order(seed, epoch) for seed in range(3) for epoch in range(5)}
    assert len(orders) == 15


@pytest.mark.parametrize(
    ("cap", "drawn"),
    [
        (None, [(49, 0), (14, 3), (29, 2), (96, 3), (53, 0)]),
        (10, [(2, 2), (32, 3), (50, 0), (58, 3), (1, 1)]),
    ],
)
def test_draws_written_down_once_stay_as_they_were(
    cap: int | None, drawn: list[tuple[int, int]]
) -> None:
    """A run that a newer version resumes would otherwise repeat some rows and skip others."""
    mixture = Mixture(Group("data", [Part("task", range(100), 4, row_cap=cap)]), 0)
    found = map(mixture.sample, (0, 1, 2, 3, 10**6))
    assert [(draw.row, draw.template) for draw in found] == drawn


def test_every_position_is_as_likely_for_every_row() -> None:
    mixture = lone(range(5), 1, seed=0)
    counts = Counter((i % 5, mixture.sample(i).row) for i in range(5 * 1_000))
    assert chisquare([counts[p, r] for p in range(5) for r in range(5)]).pvalue > 0.001


def test_neighbours_in_the_file_are_not_neighbours_in_the_order() -> None:
    mixture = lone(range(1_000), 1, seed=0)
    order = [mixture.sample(i).row for i in range(1_000)]
    assert sum(abs(a - b) == 1 for a, b in pairwise(order)) < 12


def test_templates_are_drawn_evenly_and_anew_each_epoch() -> None:
    mixture = lone(range(400), 8, seed=0)
    samples = [mixture.sample(i) for i in range(4_000)]
    assert chisquare(list(Counter(s.template for s in samples).values())).pvalue > 0.001
    of_row = [{s.template for s in samples if s.row == row} for row in range(400)]
    assert min(map(len, of_row)) > 1


def test_a_sample_does_not_depend_on_what_was_asked_before_or_on_the_process() -> None:
    code = (
        "from brulee.data.mixture import Mixture\n"
        "from brulee.data.parts import Group, Part\n"
        "part = Part('task', range(1000), 7)\n"
        "print(Mixture(Group('data', [part]), 3).sample(123456))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert elsewhere.stdout.strip() == str(lone(range(1000), 7, 3).sample(123456))


def test_a_sample_takes_no_longer_in_a_large_epoch() -> None:
    mixture = lone(range(10**9), 4, seed=0)
    start = time.monotonic()
    drawn = {mixture.sample(10**15 + i).row for i in range(200)}
    assert len(drawn) == 200
    assert time.monotonic() - start < 2


def test_nothing_to_draw_from_is_refused() -> None:
    with pytest.raises(InputError, match="has 0 rows and 1 templates"):
        lone([], 1, 0)
    with pytest.raises(InputError, match="has 1 rows and 0 templates"):
        lone([1], 0, 0)
    with pytest.raises(IndexError):
        lone([1], 1, 0).sample(-1)
